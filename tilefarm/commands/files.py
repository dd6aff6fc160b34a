"""The commands that write a file beside a run: a job, other colours, a collage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tilefarm.commands.common import Compression, Intent, Profile, Quality, Runs, note, told, told_of
from tilefarm.rundir.layout import RunDir


def init(
    content: Annotated[Path, typer.Argument(help="The photograph.", show_default=False)],
    style: Annotated[Path, typer.Argument(help="The painting.", show_default=False)],
    job_file: Annotated[Path, typer.Option("--job", help="The job file to write.")] = Path("job.yaml"),
    output: Annotated[Path | None, typer.Option(help="The picture to make; default: NAME-STYLE.tif.")] = None,
    force: Annotated[
        bool, typer.Option(help="Replace an existing job file; make a picture that exists.")
    ] = False,
) -> None:
    """Write a commented starter job for two pictures."""
    from tilefarm.files import write_text
    from tilefarm.image.decode import inspect
    from tilefarm.spec.starter import check_new_job, starter_job

    with told():
        inspect(content, "content")
        inspect(style, "style")
        folder = job_file.absolute().parent
        target = output or folder / f"{content.stem}-{style.stem}.tif"
        check_new_job(job_file, target, (content, style), force)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(job_file, starter_job(content.absolute(), style.absolute(), target.absolute(), folder))
        typer.echo(f"wrote {job_file}; look it over, then: tilefarm submit {job_file}")


def recolor(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|IMAGE", help="A finished run, or a picture.", show_default=False)
    ],
    output: Annotated[str, typer.Option(help="The picture to write, or its address.", show_default=False)],
    mode: Annotated[
        str | None,
        typer.Option(help="One of color's modes; default: what the run's job does to its result."),
    ] = None,
    content: Annotated[
        Path | None, typer.Option(help="Whose colours to take; default: the content of the run's job.")
    ] = None,
    dpi: Annotated[float | None, typer.Option(help="Default: that of the run's job, else 300.")] = None,
    bit_depth: Annotated[int | None, typer.Option(help="8 or 16; default: 16 for TIFF, else 8.")] = None,
    profile: Profile = None,
    intent: Intent = None,
    compression: Compression = None,
    quality: Quality = None,
) -> None:
    """Give a finished run or a picture other colours, without rendering it again."""
    from tilefarm.recolor import Request
    from tilefarm.recolor import recolor as write_recolored
    from tilefarm.signals import stopping_on_signals
    from tilefarm.store.deliver import typed_destination

    with told(), stopping_on_signals():
        file = {"profile": profile, "intent": intent, "compression": compression, "quality": quality}
        keys = {key: value for key, value in file.items() if value is not None}
        path, address = typed_destination(output)
        request = Request(source, path or Path(output), mode, content, dpi, bit_depth, keys)
        told_of(write_recolored(request, note), address)


def collage(
    runs: Runs,
    output: Annotated[
        Path | None, typer.Option(help="A .png, .jpg or .tif file; default: RUN-collage.png beside the run.")
    ] = None,
    height: Annotated[int, typer.Option(help="Of every picture, in pixels.", min=16, max=20_000)] = 800,
) -> None:
    """Put content, styles and result of finished runs side by side into one picture."""
    from tilefarm.report.collage import write_collage

    with told():
        typer.echo(f"wrote {write_collage([RunDir(run.absolute()) for run in runs], output, height)}")
