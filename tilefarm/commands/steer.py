"""The commands that change what a running driver does: cancel, pause, unpause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tilefarm.commands.common import Cluster, Runs, tell

if TYPE_CHECKING:
    from tilefarm.rundir.layout import RunDir


def cancel(runs: Runs, cluster: Cluster = None) -> None:
    """Stop runs that another process renders, or jobs on a cluster; they can be resumed."""
    if cluster is not None:
        from tilefarm.commands.remote import cancel_jobs

        cancel_jobs(cluster, runs)
        return
    from tilefarm.cancel import cancel as cancel_run

    _each(runs, cancel_run)


def pause(runs: Runs) -> None:
    """Have runs rest that another process renders, when what is under way is finished."""
    from tilefarm.pause import pause as pause_run

    _each(runs, pause_run)


def unpause(runs: Runs) -> None:
    """Have paused runs go on."""
    from tilefarm.pause import unpause as unpause_run

    _each(runs, unpause_run)


def _each(runs: list[Path], steer: Callable[[RunDir], str]) -> None:
    """Steer every run, whatever becomes of the others; the exit code is the first failure's."""
    from tilefarm.errors import TilefarmError
    from tilefarm.files import telling_when_forbidden
    from tilefarm.rundir.layout import RunDir

    codes = []
    for folder in runs:
        try:
            with telling_when_forbidden():
                typer.echo(steer(RunDir(folder.absolute())))
        except TilefarmError as error:
            tell(error)
            codes.append(error.exit_code)
    if codes:
        raise typer.Exit(codes[0])
