"""`tilefarm pause` and `unpause`: having a run rest, from another terminal, and go on."""

from __future__ import annotations

from tilefarm.errors import JobError
from tilefarm.files import telling_when_full
from tilefarm.pauses import ask, withdraw
from tilefarm.report.tables import effective_status
from tilefarm.rundir.layout import RunDir, is_locked
from tilefarm.rundir.summary import read_summary


def pause(run: RunDir) -> str:
    """Ask the process that works on a run to rest; what has become of that, in a sentence.

    Raises JobError where nobody works on it.
    """
    _check_running(run)
    if run.pause.exists():
        return f"{run.root} is paused already; go on with: tilefarm unpause {run.root}"
    with telling_when_full(run.pause):
        ask(run)
    return f"pausing {run.root}: what is under way is finished first; go on with: tilefarm unpause {run.root}"


def unpause(run: RunDir) -> str:
    """Have a run go on that was asked to rest; what has become of that. Raises JobError likewise."""
    _check_running(run)
    if not withdraw(run):
        return f"{run.root} is not paused"
    return f"{run.root} goes on"


def _check_running(run: RunDir) -> None:
    if not run.root.is_dir():
        raise JobError(f"there is no run folder {run.root}; name one, or look into runs/")
    if not is_locked(run):
        record = read_summary(run)
        status = "not started" if record is None else effective_status(record, locked=False)
        raise JobError(f"{run.root} is not running ({status}), so it cannot be paused or go on after a pause")
