"""How a job on a cluster stands: what its server says of the process, and its run folder of the work.

The records of the run are read through the server into a folder of this machine, so that the same code tells
of them as of a run here.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from tilefarm.errors import ClusterError, TilefarmError
from tilefarm.remote.answers import exit_code as failure_code
from tilefarm.remote.server import JobServer, RayJob
from tilefarm.remote.submit import NAME, attempts
from tilefarm.report.tables import status_lines
from tilefarm.rundir.ending import exit_code_of
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.summary import read_summary
from tilefarm.standing import standing

SIGTERM_CODE = 143
MOST_BYTES = 2**20
"""Of run.json or the state of an optimizer: several times what ten thousand steps leave there."""


def known(server: JobServer, name: str) -> RayJob:
    """A job of tilefarm's. Raises ClusterError where the server has none of this name."""
    found = attempts(server).get(name)
    if found is None:
        raise ClusterError(
            f"the cluster at {server.address} knows no job {name}: it was not sent there, or the head was "
            "started anew since; submit it again, and it goes on where the head's disk still has it"
        )
    return found[-1]


def name_of(job: RayJob) -> str:
    """What people call a job, however often it was started."""
    return job.metadata[NAME]


def all_jobs(server: JobServer) -> list[RayJob]:
    """Those of tilefarm's, the oldest first."""
    return sorted((jobs[-1] for jobs in attempts(server).values()), key=lambda job: job.began)


def run_record(server: JobServer, job: RayJob) -> tuple[dict[str, Any] | None, str | None]:
    """run.json with the steps of exact levels, None where there is none to show; and why, in a sentence.

    Raises ClusterError where the server does not answer.
    """
    try:
        return _run_record(server, job), None
    except ClusterError:
        raise
    except TilefarmError:
        return None, (
            f"its run.json on {server.address} is damaged, or of another version of tilefarm; its driver "
            "writes it anew, so submit the job again where none is at work"
        )


def _run_record(server: JobServer, job: RayJob) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory(prefix="tilefarm-") as folder:
        run = RunDir(Path(folder))
        if not _mirror(server, job, run, run.summary):
            return None
        record = read_summary(run)
        if record is not None and record["status"] != "done":
            for number in range(len(record["levels"])):
                _mirror(server, job, run, run.optimizer(number) / "state.json")
        return standing(run)


def _mirror(server: JobServer, job: RayJob, run: RunDir, path: Path) -> bool:
    content = server.read(f"runs/{name_of(job)}/{path.relative_to(run.root).as_posix()}", job.node)
    if content is None:
        return False
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if len(content) <= MOST_BYTES else b"")  # none of ours, and so no JSON either
    return True


def status_of(job: RayJob, record: dict[str, Any] | None) -> str:
    """In the words of run.json: the server knows whether a driver is there, the run what has become of it."""
    said = None if record is None else str(record["status"])
    if job.status == "SUCCEEDED":
        return "done"
    if not job.ended:
        return "waiting" if said is None or job.status == "PENDING" else "running"
    if said in ("done", "failed"):
        return said
    return "cancelled" if job.status == "STOPPED" else "failed" if said is None else "interrupted"


def exit_code(job: RayJob, record: dict[str, Any] | None) -> int:
    """That of the driver: as for a run on this machine."""
    if job.status == "SUCCEEDED":
        return 0
    if job.status == "STOPPED":
        return SIGTERM_CODE
    if job.exit_code is not None:
        return failure_code(job.exit_code if job.exit_code >= 0 else 128 - job.exit_code)
    return failure_code(exit_code_of(record or {}))


def reason(job: RayJob, record: dict[str, Any] | None) -> str:
    """Why a job has ended before its end, in its own words where it had any."""
    said = [line.partition("error: ")[2] for line in job.message.splitlines() if line.startswith("error: ")]
    if said:
        return "; ".join(said)
    if record is not None and record.get("message") and record["status"] != "running":
        return str(record["message"])
    if "No module named" in job.message:
        return "tilefarm is not installed where the cluster's jobs look for it"
    if job.status == "STOPPED":
        return "stopped"
    return f"its process ended with exit code {job.exit_code}" if job.exit_code is not None else job.message


def described(server: JobServer, job: RayJob) -> dict[str, Any]:
    """All that is known, for `--json`: run.json with `id`, `cluster`, `status` and Ray's `ray_status`."""
    record, trouble = _record(server, job)
    about = {"id": name_of(job), "cluster": server.address, "ray_status": job.status}
    status = status_of(job, record)
    ending = {"message": reason(job, record)} if status in ("failed", "interrupted") else {}
    return (record or {}) | about | {"status": status} | ({"message": trouble} if trouble else ending)


def lines(server: JobServer, job: RayJob) -> list[str]:
    """The same for people, as for a run on this machine."""
    record, trouble = _record(server, job)
    status = status_of(job, record)
    if record is None:
        said = [reason(job, record)] if job.ended and status != "done" else []
        return [f"{name_of(job)}: {status}", *(f"  {line}" for line in (*said, trouble) if line)]
    shown = record | {"status": status}
    how = {
        "fetch": f"tilefarm fetch {name_of(job)} --cluster {server.address}",
        "resume": "tilefarm submit, the same job to the same cluster",
    }
    return status_lines(name_of(job), shown, locked=not job.ended, how=how)


def _record(server: JobServer, job: RayJob) -> tuple[dict[str, Any] | None, str | None]:
    with suppress(ClusterError):  # told by whoever asks for more
        return run_record(server, job)
    return None, None
