"""Which folder is a job's, and which job is a folder's."""

from __future__ import annotations

from pathlib import Path

from tilefarm.errors import JobError
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.fingerprint import fingerprint
from tilefarm.spec.load import load_job
from tilefarm.spec.model import Job


def run_folder(job: Job, runs: Path) -> RunDir:
    """The folder of a job's run inside `runs`: NAME-HASH8, the hash of all that decides the pixels."""
    return RunDir(runs / f"{job.name}-{fingerprint(job)}")


def load_run(run: RunDir) -> tuple[Job, RunDir]:
    """The job of a run folder, to go on with it. Raises JobError where it cannot be the same picture."""
    if not run.exists():
        raise JobError(
            f"{run.root} is not a run folder: it holds no job.yaml; name a folder such as runs/NAME-HASH"
        )
    job = load_job(run.job, kept=True)
    if run_folder(job, run.root.parent).root.name[-8:] != run.root.name[-8:]:
        raise JobError(
            f"the pictures, weights or settings of {run.root} have changed since it was started, so it "
            "cannot go on to the same picture; restore them, or submit the job anew"
        )
    return job, run
