"""Following a job on a cluster, and ending it."""

from __future__ import annotations

import time

from tilefarm.errors import IncompleteError
from tilefarm.event_lines import decoded
from tilefarm.events import Event, Listener
from tilefarm.follow import EndedError
from tilefarm.remote.server import AwayError, JobServer, RayJob
from tilefarm.remote.view import exit_code, known, reason, run_record, status_of

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
"""How long a server may be away before it is given up: laptops change networks."""
STOP_SECONDS = 60.0
_LINES = 200
"""Of the log that are looked at each time."""


def watch(server: JobServer, name: str, listen: Listener) -> RayJob:
    """Hand on what a job tells until it ends well; what it has told since it began comes first.

    Raises EndedError, with the driver's exit code, where it ended otherwise; ClusterError where the server is
    away for longer than `PATIENCE_SECONDS`, or comes back without the job.
    """
    job = known(server, name)
    log = _RemoteLog(server, name)
    last_heard = time.monotonic()
    while True:
        try:
            job = known(server, name)
            for event in log.new(job):
                listen(event)
            last_heard = time.monotonic()
        except AwayError:
            if time.monotonic() - last_heard > PATIENCE_SECONDS:
                raise
        if job.ended:
            break
        time.sleep(POLL_SECONDS)
    if job.status != "SUCCEEDED":
        record, _ = run_record(server, job)
        text = f"{name} {status_of(job, record)}: {reason(job, record)}"
        raise EndedError(text, exit_code(job, record))
    return job


class _RemoteLog:
    """The events of a job's log that grows, each once."""

    def __init__(self, server: JobServer, name: str) -> None:
        self._server = server
        self._path = f"runs/{name}/events.jsonl"
        self._last: bytes | None = None

    def new(self, job: RayJob) -> list[Event]:
        """Since the last look, of this session of the job."""
        if job.node is None:
            return []
        fresh = self._new_lines(job.node)
        if fresh:
            self._last = fresh[-1]
        events = (decoded(line, job.began) for line in fresh)
        return [event for event in events if event is not None]

    def _new_lines(self, node: str) -> list[bytes]:
        """Whole lines after the last one that was seen; where that is far back, all of the log is read."""
        if self._last is not None:
            lines = _whole_lines(self._server.read(self._path, node, _LINES))
            if self._last in lines:
                return _after(lines, self._last)
        lines = _whole_lines(self._server.read(self._path, node))
        return _after(lines, self._last) if self._last in lines else lines


def _whole_lines(content: bytes | None) -> list[bytes]:
    return (content or b"").split(b"\n")[:-1]


def _after(lines: list[bytes], last: bytes | None) -> list[bytes]:
    newest_first = lines[::-1]
    return newest_first[: newest_first.index(last)][::-1] if last is not None else lines


def cancel(server: JobServer, name: str) -> str:
    """Stop a job, wait until it is gone, and say what has become of it; it can be resumed.

    Raises IncompleteError where it does not end within `STOP_SECONDS`.
    """
    job = known(server, name)
    if job.ended:
        return f"{name} is not running ({status_of(job, run_record(server, job)[0])})"
    server.stop(job.id)
    ended = server.wait(job.id, STOP_SECONDS)
    if ended is None or not ended.ended:
        raise IncompleteError(
            f"{name} works still, {STOP_SECONDS:.0f} s after it was told to stop; see the dashboard at "
            f"{server.address}"
        )
    if ended.status == "SUCCEEDED":
        return f"{name} had come to its end before it could be cancelled (done)"
    return f"cancelled {name}; go on with it: tilefarm submit, the same job to the same cluster"
