"""The pictures of a report: the result and the content in deep zoom, every level, the styles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyvips
from PIL import Image

from tilefarm.errors import JobError
from tilefarm.geometry import Size
from tilefarm.image.decode import PictureInfo, inspect
from tilefarm.image.engine import open_picture, reason
from tilefarm.image.thumbnail import fitted, thumbnail
from tilefarm.plan.build import LevelPlan
from tilefarm.viewer.report_source import RunSource
from tilefarm.viewer.zoom_folder import DeepZoom, canvas_tiles, write_small_copy, write_tiles

TILES, PICTURES = "tiles", "pictures"
"""Folders of a report."""
RESULT = f"{PICTURES}/result.jpg"
SIDE = 480
"""Pixels of the long side of a small picture."""
_QUALITY = 88


@dataclass(frozen=True)
class LevelShown:
    """One level of the pyramid."""

    level: LevelPlan
    zoom: DeepZoom | None
    """None where nothing of it is there."""
    note: str
    """What is special about it; else empty."""


@dataclass(frozen=True)
class Shown:
    """All pictures of a run that were written into a report's folder."""

    levels: tuple[LevelShown, ...]
    """Coarse to fine."""
    result: LevelShown | None
    """The finest level whose canvas is whole; None where there is none."""
    thumbnail: Size | None
    """Of the small picture of the result, RESULT."""
    content: DeepZoom | None
    notes: tuple[str, ...]
    """What could not be shown, a sentence each."""


def write_pictures(source: RunSource, folder: Path) -> Shown:
    """Write the tiles of all levels and of the content, and a small picture of the result.

    Raises ResourceError where the disk is full, JobError where a picture has changed meanwhile.
    """
    (folder / TILES).mkdir()
    levels = tuple(_level(source, level, folder) for level in source.levels)
    whole = [shown for shown in levels if shown.zoom is not None and not shown.note]
    small = None
    if whole and whole[-1].zoom is not None:
        small = write_small_copy(whole[-1].zoom, folder / TILES, folder / RESULT, SIDE)
    notes: tuple[str, ...] = ()
    content = None
    try:
        with source.content() as image:
            content = write_tiles(image, folder / TILES, "content")
    except JobError as error:
        notes = error.problems
    return Shown(levels, whole[-1] if whole else None, small, content, notes)


def write_small(path: Path, label: str, target: Path) -> Size:
    """Write a picture that the job reads as a small JPEG; returns its size. Raises JobError."""
    info = inspect(path, label)
    return _write_small(info, target)


def _write_small(info: PictureInfo, target: Path) -> Size:
    size = fitted(info.size, SIDE)
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(thumbnail(info, size)).save(target, quality=_QUALITY)
    return size


def _level(source: RunSource, level: LevelPlan, folder: Path) -> LevelShown:
    """From the level's canvas; where that has gone, from its preview."""
    name = f"level-{level.index + 1}"
    if not source.is_finished(level):
        return LevelShown(level, None, "not finished")
    if source.has_canvas(level):
        with source.canvas(level) as canvas:
            return LevelShown(level, canvas_tiles(canvas, level.size, folder / TILES, name), "")
    preview = source.run.preview(level.index)
    if not preview.is_file():
        return LevelShown(level, None, "its canvas has gone or is damaged")
    try:
        image = open_picture(preview, access="sequential", fail_on="error")
        zoom = write_tiles(image.extract_band(0, n=3), folder / TILES, name)
    except (pyvips.Error, OSError) as error:
        why = reason(error) if isinstance(error, pyvips.Error) else str(error)
        return LevelShown(level, None, f"its canvas has gone, and its preview cannot be read ({why})")
    return LevelShown(level, zoom, "from its preview, since its canvas has gone or is damaged")
