"""`tilefarm report RUN RUN...`: a page over many runs, with filters on what they differ in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tilefarm.errors import JobError, ResourceError, StoppedError, TilefarmError
from tilefarm.geometry import Size
from tilefarm.rundir.layout import RunDir
from tilefarm.viewer.gallery_keys import differing
from tilefarm.viewer.gallery_page import Card, gallery_page
from tilefarm.viewer.gallery_runs import Chosen
from tilefarm.viewer.report import ASSETS, FILES, PAGE, fill_report
from tilefarm.viewer.report_folder import copy_assets, replacing_folder
from tilefarm.viewer.report_pictures import PICTURES, RESULT, SIDE, TILES
from tilefarm.viewer.report_source import RunSource, is_run, open_run
from tilefarm.viewer.settings_list import Leaf, leaves
from tilefarm.viewer.zoom_folder import canvas_tiles, without_fine_levels, write_small_copy

RUNS = "runs"
"""The folder of the runs' own reports."""
_COMPARED = 2048
"""At most so many pixels has the long side of a picture of which there is no report."""
_MOST_NAMED = 5


@dataclass(frozen=True)
class _Drawn:
    """The pictures of one run in a gallery."""

    thumbnail: str | None
    size: Size | None
    zoom: dict[str, Any] | None
    report: str | None
    note: str


_NOTHING = _Drawn(None, None, None, None, "")


def write_gallery(
    chosen: Chosen, output: Path | None, reports: bool, tell: Callable[[str], object] = str
) -> Path:
    """Write a gallery into `output`, or where `chosen` has its place; returns its page.

    With `reports` every run's own report is in it. A run that cannot be shown has a card that says why;
    `tell` is given a line for each. Raises JobError where none can be shown, or `output` holds something else
    than a gallery or a report; ResourceError where the disk is full.
    """
    target = output or chosen.place
    with replacing_folder(target) as folder:
        copy_assets(folder / ASSETS, *FILES, "report_gallery.js")
        names = _folder_names(chosen.runs)
        cards, settings = [], []
        problems: list[str] = []
        for number, (run, name) in enumerate(zip(chosen.runs, names, strict=True), start=1):
            tell(f"{number} of {len(chosen.runs)}: {run.name}")
            source, why = _opened(run)
            if source is None:
                problems.append(why)
                tell(f"  {why}")
            drawn = _NOTHING if source is None else _draw(source, folder, name, reports)
            cards.append(_card(run, source, drawn, why))
            settings.append(None if source is None else leaves(source.job))
        if len(problems) == len(chosen.runs):
            raise JobError(problems[:_MOST_NAMED])
        page = gallery_page(chosen.title, cards, *_keys(chosen, settings), f"{ASSETS}/")
        (folder / PAGE).write_bytes(page)
    return target / PAGE


def _keys(
    chosen: Chosen, settings: list[dict[str, Leaf] | None]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    if chosen.labels:
        return chosen.labels, list(chosen.values)
    return differing(settings)


def _opened(run: RunDir) -> tuple[RunSource | None, str]:
    """A run, or why it cannot be shown."""
    if not is_run(run.root):
        return None, f"{run.name} has not been started"
    try:
        return open_run(run), ""
    except JobError as error:
        return None, "; ".join(error.problems)


def _draw(source: RunSource, folder: Path, name: str, reports: bool) -> _Drawn:
    """Write a run's pictures, and its report where that is wanted."""
    try:
        return _with_report(source, folder, name) if reports else _without_report(source, folder, name)
    except (ResourceError, StoppedError):
        raise
    except TilefarmError as error:
        return _Drawn(None, None, None, None, str(error))


def _with_report(source: RunSource, folder: Path, name: str) -> _Drawn:
    place = folder / RUNS / name
    place.mkdir(parents=True)
    shown = fill_report(source, place, f"../../{ASSETS}/", f"../../{PAGE}")
    report = f"{RUNS}/{quote(name)}/"
    if shown.result is None or shown.result.zoom is None:
        return _Drawn(None, None, None, report + PAGE, "")
    zoom = shown.result.zoom.record(f"{report}{TILES}/")
    return _Drawn(report + RESULT, shown.thumbnail, zoom, report + PAGE, "")


def _without_report(source: RunSource, folder: Path, name: str) -> _Drawn:
    whole = [level for level in source.levels if source.has_canvas(level)]
    if not whole:
        return _NOTHING
    tiles = folder / TILES
    tiles.mkdir(exist_ok=True)
    with source.canvas(whole[-1]) as canvas:
        zoom = without_fine_levels(canvas_tiles(canvas, whole[-1].size, tiles, name), tiles, _COMPARED)
    size = write_small_copy(zoom, tiles, folder / PICTURES / f"{name}.jpg", SIDE)
    return _Drawn(f"{PICTURES}/{quote(name)}.jpg", size, zoom.record(f"{TILES}/"), None, "")


def _card(run: RunDir, source: RunSource | None, drawn: _Drawn, why: str) -> Card:
    if source is None:
        return Card(run.name, "not shown", None, None, None, None, None, None, why)
    finished = [
        level["loss_last"] for level in source.summary["levels"] if level.get("loss_last") is not None
    ]
    return Card(
        name=source.job.name,
        status=source.status,
        thumbnail=drawn.thumbnail,
        size=drawn.size,
        zoom=drawn.zoom,
        report=drawn.report,
        loss=finished[-1] if finished and source.status == "done" else None,
        seconds=float(source.summary["seconds"]),
        note=drawn.note,
    )


def _folder_names(runs: tuple[RunDir, ...]) -> list[str]:
    """A plain name for each run, all different, also where the system ignores upper and lower case."""
    names: list[str] = []
    taken: set[str] = set()
    for run in runs:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", run.name).lstrip(".") or "run"
        name, number = plain, 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
