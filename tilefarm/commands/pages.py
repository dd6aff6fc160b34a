"""The commands that show runs in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tilefarm.commands.common import Cluster, RunDirOption, Set, told
from tilefarm.rundir.layout import RunDir


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|FOLDER|SWEEP...",
            help="A run folder. Several, a folder of them, or a sweep's job file make a gallery.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="The folder to write; default: 'report' in the run, 'gallery' beside several."),
    ] = None,
    reports: Annotated[
        bool, typer.Option("--reports/--no-reports", help="Whether a gallery holds each run's own report.")
    ] = True,
    overrides: Set = None,
    run_dir: RunDirOption = None,
) -> None:
    """Write runs as a folder that any browser opens: deep zoom, losses, settings; several as a gallery."""
    from tilefarm.signals import stopping_on_signals
    from tilefarm.viewer.gallery import write_gallery
    from tilefarm.viewer.gallery_runs import runs_of
    from tilefarm.viewer.report import write_report

    with told(), stopping_on_signals():
        chosen = runs_of(runs, overrides or (), run_dir)
        if chosen.is_single:
            page = write_report(chosen.runs[0], output or chosen.place)
        else:
            page = write_gallery(chosen, output, reports, lambda line: typer.echo(line, err=True))
        typer.echo(f"wrote {page}; open it in a browser: {page.absolute().as_uri()}")


def watch(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65535)] = 0,
    cluster: Cluster = None,
) -> None:
    """Show a run in the browser, from this machine alone: the picture as it grows, and how far it is.

    With --cluster ADDRESS a job there, in the terminal, until its end.
    """
    if cluster is not None:
        from tilefarm.commands.remote import watch_job

        watch_job(cluster, run)
        return
    from tilefarm.errors import JobError
    from tilefarm.viewer.process import serve

    with told():
        folder = RunDir(run.absolute())
        if not folder.root.is_dir():
            raise JobError(f"there is no run folder {run}; name one, or look into runs/")
        serve(folder, port, typer.echo)
