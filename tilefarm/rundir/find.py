"""Which folder is a job's, and which job is a folder's."""

from __future__ import annotations

from pathlib import Path

from tilefarm.errors import JobError
from tilefarm.rundir.inputs import check_job, differences, is_recorded
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
        if is_recorded(run):
            raise JobError(
                f"{run.job} is missing; submit the job file that the run was started from again, and it "
                "goes on"
            )
        raise JobError(
            f"{run.root} is not a run folder: it holds no job.yaml; name a folder such as runs/NAME-HASH"
        )
    check_job(run)
    job = load_job(run.job, kept=True)
    if run_folder(job, run.root.parent).root.name[-8:] != run.root.name[-8:]:
        changed = differences(run, job)
        what = "; ".join(changed) if changed else "its pictures, weights or settings"
        raise JobError(
            f"{run.root} cannot go on to the same picture, since these have changed since it was started: "
            f"{what}; restore them, or submit the job anew"
        )
    return job, run


def check_ours(run: RunDir) -> None:
    """Raise JobError where the folder holds somebody's files and is no run folder."""
    if not run.root.exists() or run.exists() or is_recorded(run):
        return
    if not run.root.is_dir():
        raise JobError(f"{run.root} is a file, and the run needs a folder of that name; move it away")
    strange = sorted(path.name for path in run.root.iterdir() if path.name[0] != "." and path.name != "lock")
    if strange:
        raise JobError(
            f"{run.root} holds {strange[0]} and no job.yaml, so it is not a run folder of tilefarm, or not a "
            "whole one; move it away, or choose another place with --run-dir"
        )
