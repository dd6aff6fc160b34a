"""In the terminal: what another process does with a run, until it is done, or lets go of it."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from tilefarm.errors import StoppedError
from tilefarm.follow import follow
from tilefarm.report.console import ConsoleReport
from tilefarm.rundir.holder import read_holder
from tilefarm.rundir.layout import RunDir, is_locked
from tilefarm.signals import stopping_on_signals


class DetachedError(StoppedError):
    """A signal ended the following of a run, and not the run."""


def attend(run: RunDir, console: Console, say: Callable[[str], None]) -> bool:
    """Show what another process does; whether that came to the end of the run.

    Raises DetachedError where a signal ends this alone, EndedError where the run failed or was stopped.
    """
    holder = read_holder(run.lock) or "another process"
    say(f"{run.root} is rendered by {holder}: following it; Ctrl-C lets it go on alone")
    try:
        with stopping_on_signals(lambda stop: _left_alone(run)), ConsoleReport(console) as report:
            done = follow(run, report)
    except StoppedError as error:
        if is_locked(run):
            raise DetachedError(_left_alone(run), error.exit_code - 128) from error
        raise
    if not done:
        say(f"{holder} has let go of it: taking over")
    return done


def _left_alone(run: RunDir) -> str:
    return f"{run.root} goes on without this terminal; stop it with: tilefarm cancel {run.root}"
