"""The pictures that say where a style acts and which part of it is looked at, checked before work starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tilefarm.errors import JobError
from tilefarm.geometry import Box, Size, View
from tilefarm.image.decode import PictureInfo, open_stored, reading
from tilefarm.plan.build import LevelPlan
from tilefarm.spec.model import Job
from tilefarm.spec.regions import regions_of

_ASPECT_TOLERANCE = 0.01
_REACH = 4
"""In pixels, of the larger of two sizes: further than this no kernel of `image.resize` looks."""


@dataclass(frozen=True)
class Masks:
    """The masks of a job."""

    regions: tuple[PictureInfo | None, ...] = (None,)
    """Per region of `regions_of`; None for the one that takes what the others leave."""
    styles: tuple[PictureInfo | None, ...] = ()
    """Per style the mask on the painting itself; None, or nothing, where all of it is looked at."""

    def of_style(self, number: int) -> PictureInfo | None:
        """The mask on the painting of a style, counted from 0."""
        return self.styles[number] if number < len(self.styles) else None

    def views(self, shown: View, content: Size) -> tuple[View, ...]:
        """Per region the part of its mask over what is shown of the content; it goes on as that does."""
        return tuple(
            shown if mask is None else replace(shown, crop=_scaled(shown.crop, content, mask.size))
            for mask in self.regions
        )


def read_masks(
    job: Job, content: Size, styles: list[Size], read: Callable[[Path, str], PictureInfo]
) -> Masks:
    """Inspect the masks of a job with `read` (path, label). Raises JobError with all problems."""
    problems: list[str] = []

    def checked(path: Path | None, label: str, over: Size, what: str) -> PictureInfo | None:
        if path is None:
            return None
        try:
            info = read(path, label)
            _check(info, over, what)
        except JobError as error:
            problems.extend(error.problems)
            return None
        return info

    regions = tuple(
        checked(region.mask, f"mask of style {region.styles[0] + 1}", content, "the content")
        for region in regions_of(job)
    )
    own = tuple(
        checked(style.style_mask, f"style_mask of style {number}", size, "its style picture")
        for number, (style, size) in enumerate(zip(job.styles, styles, strict=True), start=1)
    )
    if problems:
        raise JobError(problems)
    return Masks(regions, own)


def style_crop(job: Job, level: LevelPlan) -> Size | None:
    """The size of a painting's middle that `objective.style_target: crop` looks at on a level; None: all."""
    if job.objective.style_target == "whole":
        return None
    return Size(job.tiles.side, job.tiles.side) if level.pieces else level.grid.tile


def check_crops(job: Job, masks: Masks, levels: Sequence[LevelPlan]) -> None:
    """Raise JobError for masks on paintings that are black in all that a level looks at, one problem each."""
    problems = []
    for number, mask in enumerate(masks.styles):
        if mask is not None:
            found = (_black_crop(mask, style_crop(job, level), level.styles[number]) for level in levels)
            problems += [problem for problem in found if problem is not None][:1]
    if problems:
        raise JobError(problems)


def _black_crop(mask: PictureInfo, crop: Size | None, size: Size) -> str | None:
    if crop is None or _brightest(mask, _reached(crop, size, mask.size)) > 0:
        return None
    return (
        f"{mask.label}: {mask.path} must be white somewhere in the middle {crop} pixels of its style picture "
        f"at {size}, which is all that objective.style_target: crop looks at, got black; paint white there, "
        "or set objective.style_target: whole"
    )


def _reached(crop: Size, size: Size, mask: Size) -> Box:
    """All pixels of a mask that have a part in the middle `crop` of it, resized to `size`."""
    edges = []
    widths, heights = (crop.width, size.width, mask.width), (crop.height, size.height, mask.height)
    for part, length, pixels in (widths, heights):
        begin, scale = (length - part) // 2, pixels / length
        reach = math.ceil(_REACH * max(1, scale))
        low, high = math.floor(begin * scale) - reach, math.ceil((begin + part) * scale) + reach
        edges.append((max(0, low), min(pixels, high)))
    (left, right), (top, bottom) = edges
    return Box(left, top, right, bottom)


def _brightest(mask: PictureInfo, box: Box) -> float:
    """The largest value in a box of the upright mask."""
    part = mask.orientation.to_stored(box, mask.size)
    with reading(mask):
        return float(open_stored(mask).crop(part.left, part.top, part.width, part.height).max())


def _check(mask: PictureInfo, over: Size, what: str) -> None:
    wanted = mask.size.height * over.width / over.height
    if abs(mask.size.width - wanted) > max(1.0, _ASPECT_TOLERANCE * wanted):
        raise JobError(
            f"{mask.label}: {mask.path} must have the shape of {what}, {over}, got {mask.size}; "
            "draw it over that picture"
        )
    if _brightest(mask, Box.of(mask.size)) <= 0:
        raise JobError(
            f"{mask.label}: {mask.path} must be white somewhere, got a black picture; paint that part white"
        )


def _scaled(box: Box, size: Size, other: Size) -> Box:
    """The same part of a picture of another size, at least one pixel."""
    x, y = other.width / size.width, other.height / size.height
    left, top = min(round(box.left * x), other.width - 1), min(round(box.top * y), other.height - 1)
    return Box(left, top, max(left + 1, round(box.right * x)), max(top + 1, round(box.bottom * y)))
