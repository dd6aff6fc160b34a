"""The commands about finished files: another one of a run, and what a print shop would say of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tilefarm.commands.common import (
    Compression,
    Intent,
    Json,
    Profile,
    Quality,
    fail,
    note,
    print_json,
    told,
    told_of,
)

Paper = Annotated[
    str | None, typer.Option("--print", metavar="40x30cm", help="Width x height on paper: cm, mm or in.")
]
Bleed = Annotated[str | None, typer.Option(metavar="3mm", help="Beyond the paper's edge, to be cut off.")]


def export(
    run: Annotated[Path, typer.Argument(help="A finished run's folder.", show_default=False)],
    output: Annotated[
        str | None,
        typer.Option(
            help=".tif, .png, .jpg or .webp, or its address; default: a new file beside the job's.",
            show_default=False,
        ),
    ] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; the height follows.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels; the width follows.")] = None,
    long_side: Annotated[int | None, typer.Option(help="Pixels of the longer side.")] = None,
    paper: Paper = None,
    bleed: Bleed = None,
    dpi: Annotated[float | None, typer.Option(help="Default: as in the run's job.")] = None,
    preset: Annotated[str | None, typer.Option(help="One of output.preset's.")] = None,
    bit_depth: Annotated[int | None, typer.Option(help="8 or 16.")] = None,
    profile: Profile = None,
    intent: Intent = None,
    compression: Compression = None,
    tiled: Annotated[bool | None, typer.Option("--tiled/--strips", help="TIFF: in tiles, or strips.")] = None,
    pyramid: Annotated[bool | None, typer.Option(help="TIFF: with smaller copies for zooming.")] = None,
    quality: Quality = None,
    lossless: Annotated[bool | None, typer.Option(help="WebP.")] = None,
    dither: Annotated[bool | None, typer.Option(help="8 bits: noise instead of steps.")] = None,
    provenance: Annotated[bool | None, typer.Option(help="With a record of how it was made.")] = None,
    proof: Annotated[
        str | None, typer.Option(metavar="CMYK.icc", help="Show beside it how this press would print it.")
    ] = None,
    level: Annotated[int | None, typer.Option(help="1 is the coarsest; default: the finest.")] = None,
) -> None:
    """Write another size, format or profile of a finished run, without rendering it again."""
    from tilefarm.reexport import Request, export_again
    from tilefarm.signals import stopping_on_signals
    from tilefarm.store.deliver import typed_destination

    keys = {
        "width": width,
        "height": height,
        "long_side": long_side,
        "print": paper_keys(paper, bleed),
        "dpi": dpi,
        "preset": preset,
        "bit_depth": bit_depth,
        "profile": profile,
        "intent": intent,
        "compression": compression,
        "tiled": tiled,
        "pyramid": pyramid,
        "quality": quality,
        "lossless": lossless,
        "dither": dither,
        "provenance": provenance,
        "proof": proof,
    }
    with told(), stopping_on_signals():
        path, address = typed_destination(output)
        given = {key: value for key, value in {"path": path, **keys}.items() if value is not None}
        told_of(export_again(Request(run, given, level), note), address)


def check(
    file: Annotated[Path, typer.Argument(help="Any picture.", show_default=False)],
    purpose: Annotated[
        str | None,
        typer.Option("--for", metavar="PRESET", help="One of output.preset's.", show_default=False),
    ] = None,
    paper: Paper = None,
    bleed: Bleed = None,
    as_json: Json = False,
) -> None:
    """Say what a print shop's preflight would say of a picture; exit code 2 where something is a problem."""
    from tilefarm.preflight.report import examine_file, report_lines, report_record
    from tilefarm.preflight.wish import parse_wish

    with told():
        report = examine_file(file, parse_wish(purpose, paper_keys(paper, bleed)))
        if as_json:
            print_json(report_record(report))
        else:
            typer.echo("\n".join(report_lines(report)))
    if not report.good:
        raise typer.Exit(2)


def paper_keys(paper: str | None, bleed: str | None) -> dict[str, Any] | None:
    """`40x30cm` as the keys of output.print; each side may have a unit of its own. Ends the command."""
    if paper is None:
        if bleed is not None:
            fail("--bleed belongs to --print, the size that is left when it is cut off; give both", 2)
        return None
    width, cross, height = paper.replace("×", "x").replace(" ", "").partition("x")
    if not cross or not width or not height:
        fail(f"--print must be WIDTHxHEIGHT with a unit, such as 40x30cm, got {paper!r}", 2)
    if width[-1].isdecimal():
        width += height.lstrip("0123456789.")
    return {"width": width, "height": height} | ({} if bleed is None else {"bleed": bleed})
