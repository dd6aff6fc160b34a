"""The `output` section: where the picture goes, and how large it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from tilefarm.errors import JobError
from tilefarm.geometry import Box, Size
from tilefarm.spec.file_form import FileForm
from tilefarm.spec.file_keys import FileKeys
from tilefarm.spec.paper import DEFAULT_DPI, LONGEST_SIDE, Dpi, Print
from tilefarm.spec.proof import ProofKey
from tilefarm.spec.section import Conflict

SIZE_KEYS = ("width", "height", "long_side", "print")
"""The keys that ask for a size; a job has at most one of them."""

Pixels = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]


@dataclass(frozen=True)
class Target:
    """The picture to make and the part of the content that it shows."""

    size: Size
    crop: Box
    """In the content's pixels, after its orientation was applied."""


class Output(FileKeys):
    """Where the picture goes, its form, its size and resolution."""

    width: Pixels | None = None
    height: Pixels | None = None
    long_side: Pixels | None = None
    print: Print | None = None
    dpi: Dpi = Field(default=None, validate_default=True)
    """Dots per inch: `print.dpi` where only that was given, else 300."""
    proof: ProofKey = None

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """At most one key may ask for a size; and those of the file."""
        yield from super().conflicts(given, folder)
        sizes = [key for key in SIZE_KEYS if given.get(key) is not None]
        for other in sizes[1:]:
            yield Conflict(
                (other,),
                f"cannot be given together with output.{sizes[0]}; "
                "keep only one of width, height, long_side and print",
            )

    @field_validator("dpi", mode="before")
    @classmethod
    def _default_dpi(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            return value
        paper = info.data.get("print")
        return paper.dpi if paper and paper.dpi else DEFAULT_DPI

    @field_validator("dpi")
    @classmethod
    def _dpi_suits_print(cls, dpi: float, info: ValidationInfo) -> float:
        paper = info.data.get("print")
        if paper is None:
            return dpi
        if paper.dpi is not None and paper.dpi != dpi:
            raise ValueError(f"is {dpi:g} but output.print.dpi is {paper.dpi:g}; keep only one of them")
        for side, length in (("wide", paper.width), ("high", paper.height)):
            if not 1 <= length.pixels(dpi) <= LONGEST_SIDE:
                raise ValueError(
                    f"of {dpi:g} makes the print {length.pixels(dpi)} pixels {side}; a side must have "
                    f"1 to {LONGEST_SIDE} pixels, so choose another dpi or another size of the print"
                )
        return dpi

    def form(self, seed: int) -> FileForm:
        """Everything about the file but its place, its size and its pixels; `seed` is for its dithering."""
        return self.form_at(self.dpi, seed)

    @property
    def resolved_dpi(self) -> float:
        """The resolution that the file carries: the same number as `dpi`, wherever it was given."""
        return self.dpi

    @property
    def print_size(self) -> Size | None:
        """The print's size in pixels, None if no print was asked for."""
        if self.print is None:
            return None
        return Size(self.print.width.pixels(self.dpi), self.print.height.pixels(self.dpi))

    def target(self, content: Size) -> Target:
        """The picture's size for a content of this size (after orientation), and the content's part in it.

        A print shows the largest centred part of the content that has the print's aspect; everything
        else shows all of the content and keeps its aspect. Raises JobError if a side that follows from
        the aspect is longer than 300,000 pixels.
        """
        if (paper := self.print_size) is not None:
            return Target(paper, centred(content, paper))
        size = self._size_by_aspect(content)
        if size.long_side > LONGEST_SIDE:
            raise JobError(
                f"output would have {size} pixels from a content of {content}, but a side may have at most "
                f"{LONGEST_SIDE}; set output.long_side to at most {LONGEST_SIDE}"
            )
        return Target(size, Box.of(content))

    def _size_by_aspect(self, content: Size) -> Size:
        if self.width is not None:
            return Size(self.width, max(1, round(content.height * self.width / content.width)))
        if self.height is not None:
            return Size(max(1, round(content.width * self.height / content.height)), self.height)
        if self.long_side is not None:
            return content.fit_long_side(self.long_side)
        return content


def centred(content: Size, aspect: Size) -> Box:
    """The largest box in the middle of `content` with the aspect of `aspect`, at least one pixel a side."""
    width, height = content.width, content.height
    if width * aspect.height > height * aspect.width:
        width = max(1, round(height * aspect.width / aspect.height))
    else:
        height = max(1, round(width * aspect.height / aspect.width))
    left, top = (content.width - width) // 2, (content.height - height) // 2
    return Box(left, top, left + width, top + height)
