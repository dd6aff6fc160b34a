"""The program: its commands, each a few lines over the modules that do the work."""

from __future__ import annotations

import typer

from tilefarm.commands import deliver, files, imagine, look, pages, remote, render, steer
from tilefarm.streams import survive_closed_streams

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Renders photographs in the style of paintings, at print size.",
)
for command in (
    render.submit,
    render.resume,
    steer.cancel,
    steer.pause,
    steer.unpause,
    pages.watch,
    remote.fetch,
    look.plan,
    imagine.simulate,
    look.status,
    look.losses,
    files.init,
    files.recolor,
    deliver.export,
    deliver.check,
    files.collage,
    pages.report,
    look.verify,
    look.doctor,
):
    app.command()(command)
app.command("version")(look.show_version)


def main() -> None:
    """The program's entry."""
    survive_closed_streams()
    app()
