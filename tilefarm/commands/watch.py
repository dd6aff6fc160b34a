"""The command that shows a run in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tilefarm.commands.common import told
from tilefarm.rundir.layout import RunDir


def watch(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65535)] = 0,
) -> None:
    """Show a run in the browser, from this machine alone: the picture as it grows, and how far it is."""
    from tilefarm.errors import JobError
    from tilefarm.viewer.process import serve

    with told():
        folder = RunDir(run.absolute())
        if not folder.root.is_dir():
            raise JobError(f"there is no run folder {run}; name one, or look into runs/")
        serve(folder, port, typer.echo)
