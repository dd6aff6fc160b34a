"""`tilefarm cancel`: stopping a run from another terminal."""

from __future__ import annotations

import signal
import time

from tilefarm.errors import IncompleteError, JobError, RunBusyError
from tilefarm.report.tables import effective_status
from tilefarm.rundir.ending import mark_ended
from tilefarm.rundir.holder import read_holder, terminate
from tilefarm.rundir.layout import RunDir, RunLock, is_locked
from tilefarm.rundir.summary import read_summary

END_SECONDS = 10.0
_POLL_SECONDS = 0.05


def cancel(run: RunDir) -> str:
    """Stop the process that works on a run, wait until it is gone, and say what has become of the run.

    A run that nobody works on is left as it is. Raises JobError for a folder that is none, and where the
    process cannot be reached from here; IncompleteError where it does not end within `END_SECONDS`.
    """
    if not run.root.is_dir():
        raise JobError(f"there is no run folder {run.root}; name one, or look into runs/")
    if not is_locked(run):
        return f"{run.root} is not running ({_status(run)})"
    holder = read_holder(run.lock)
    if holder is None:
        raise JobError(
            f"{run.root} is held by a process that does not say who it is; stop it where it was started"
        )
    try:
        sent = terminate(holder)
    except PermissionError:
        raise JobError(f"{run.root} is rendered by {holder}, another user's; ask them to stop it") from None
    if not sent and is_locked(run):
        raise JobError(
            f"{run.root} is rendered by {holder}, which cannot be reached from here; cancel it on that host"
        )
    end = time.monotonic() + END_SECONDS
    while is_locked(run):
        if time.monotonic() > end:
            raise IncompleteError(
                f"{holder} works on {run.root} still, {END_SECONDS:.0f} s after it was told to stop; "
                f"end it with: kill -9 {holder.process}"
            )
        time.sleep(_POLL_SECONDS)
    return _settled(run)


def _settled(run: RunDir) -> str:
    """Put the reason into run.json, unless the run was done by then or somebody else goes on with it."""
    try:
        with RunLock(run):
            marked = mark_ended(run, "cancelled", "cancelled by tilefarm cancel", 128 + signal.SIGTERM)
    except RunBusyError as error:
        return f"{run.root} was stopped, and started again meanwhile: {error}"
    if read_summary(run) is None:
        return f"cancelled {run.root} before it began"
    if not marked:
        return f"{run.root} had come to its end before it could be cancelled ({_status(run)})"
    return f"cancelled {run.root}; go on with it: tilefarm resume {run.root}"


def _status(run: RunDir) -> str:
    record = read_summary(run)
    return "not started" if record is None else effective_status(record, locked=False)
