"""`python -m scripts.control_strips`: render what is missing, and write docs/controls/."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.control_strips.catalogue import MATRIX, catalogue, making
from scripts.control_strips.panels import ROOT, Settings, Strip, name_of, run_names
from scripts.control_strips.pictures import make_pictures
from scripts.control_strips.render import (
    Workshop,
    as_jpeg,
    draw,
    draw_cells,
    render,
    render_sweep,
    snapshots_of,
    steps_of,
)
from tilefarm.report.arrange import Cell
from tilefarm.report.collage import write_collage
from tilefarm.rundir.layout import RunDir

TARGET = ROOT / "docs" / "controls"
WORKSHOP = Workshop(ROOT / "build" / "controls")
MATRIX_NAME, COLLAGE, MAKING = "matrix", "collage", "making"
OTHERS = (MATRIX_NAME, COLLAGE, MAKING)
"""Pictures that are not strips of panels."""
_SHEET_WIDTH = 640
_FRAMES = 4
_COLLAGE_HEIGHT = 150


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    strips = catalogue(make_pictures(WORKSHOP.root / "pictures"), options.squeezenet)
    known = [*(strip.name for strip in strips), *OTHERS]
    if options.list:
        print("\n".join(known))
        return 0
    if unknown := [name for name in options.names if name not in known]:
        print(f"no strip is called {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    if options.squeezenet is None and not options.names:
        print("leaving out the strip 'network': it needs --squeezenet FILE", file=sys.stderr)
    return _make(strips, set(options.names or known), options.again)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/controls", description="Make the pictures of docs/controls.md."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these strips; default: all")
    parser.add_argument("--again", action="store_true", help="render their panels anew")
    parser.add_argument("--squeezenet", type=Path, metavar="FILE", help="weights for the strip 'network'")
    parser.add_argument("--list", action="store_true", help="only name the strips")
    return parser


def _make(strips: Sequence[Strip], names: set[str], again: bool) -> int:
    """Render and draw the strips of these names; the exit code is that of the first failure."""
    runs = run_names(strips)
    shown = run_names([strip for strip in strips if strip.name in names])
    wanted = {name_of(settings, runs): settings for settings in shown.values()}
    if COLLAGE in names:
        wanted |= {(name := _of_collage(strips, runs)): runs[name]}
    if MAKING in names:
        wanted[MAKING] = making(TARGET / f"{MAKING}.gif")
    TARGET.mkdir(parents=True, exist_ok=True)
    done, code = render(wanted, WORKSHOP, again) if wanted else ({}, 0)
    for strip in strips:
        if strip.name in names and not draw(strip, runs, WORKSHOP, TARGET / f"{strip.name}.jpg"):
            print(f"leaving out the strip {strip.name!r}: a panel is not done", file=sys.stderr)
    if COLLAGE in names and (run := done.get(_of_collage(strips, runs))):
        page = write_collage([run], WORKSHOP.root / f"{COLLAGE}.png", _COLLAGE_HEIGHT)
        as_jpeg(page, TARGET / f"{COLLAGE}.jpg")
    if MAKING in done:
        _draw_making(done[MAKING])
    if MATRIX_NAME in names:
        sheet, sweep_code = render_sweep(MATRIX_NAME, MATRIX, WORKSHOP)
        code = code or sweep_code
        if sheet is not None:
            as_jpeg(sheet, TARGET / f"{MATRIX_NAME}.jpg", _SHEET_WIDTH)
    return code


def _of_collage(strips: Sequence[Strip], runs: Mapping[str, Settings]) -> str:
    """The run that the collage shows: the first one with two paintings and a mask."""
    mask = next(strip for strip in strips if strip.name == "mask")
    return name_of(next(panel.settings for panel in mask.panels if panel.settings), runs)


def _draw_making(run: RunDir) -> None:
    cells = [
        Cell(WORKSHOP.small(snapshot), "", (steps_of(snapshot, run),))
        for snapshot in snapshots_of(run, _FRAMES)
    ]
    draw_cells("snapshots", cells, WORKSHOP, TARGET / "snapshots.jpg")
    as_jpeg(run.losses, TARGET / "losses.jpg", _SHEET_WIDTH)


if __name__ == "__main__":
    sys.exit(main())
