"""Which painting acts where: the regions that the styles' masks make of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tilefarm.spec.model import Job


@dataclass(frozen=True)
class Region:
    """A part of the picture and the styles that share it."""

    mask: Path | None
    """Grey picture over the content, white where the region is; None: wherever no mask is white."""
    styles: tuple[int, ...]
    """Positions in the job's `styles`."""


def regions_of(job: Job) -> tuple[Region, ...]:
    """The regions in the order in which the job names their masks; one without a mask comes last.

    A job without masks has one region, which is the whole picture.
    """
    masks = list(dict.fromkeys(style.mask for style in job.styles if style.mask is not None))
    places: list[Path | None] = [*masks]
    if any(style.mask is None for style in job.styles):
        places.append(None)
    return tuple(
        Region(place, tuple(number for number, style in enumerate(job.styles) if style.mask == place))
        for place in places
    )


def is_masked(job: Job) -> bool:
    """Whether styles act in regions of their own."""
    return any(style.mask is not None for style in job.styles)
