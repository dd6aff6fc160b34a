"""The `output` section: where the picture goes, and how large it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from tilefarm.errors import JobError
from tilefarm.geometry import Size
from tilefarm.spec.file_form import FileForm, Format
from tilefarm.spec.paper import DEFAULT_DPI, LONGEST_SIDE, Dpi, Print
from tilefarm.spec.paths import OUTPUT_FORMATS, OutputPath
from tilefarm.spec.section import Conflict, Section
from tilefarm.spec.sheet import Target, lay_out, whole

SIZE_KEYS = ("width", "height", "long_side", "print")
"""The keys that ask for a size; a job has at most one of them."""

Pixels = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]


class Output(Section):
    """Where the picture goes, its size, resolution and depth."""

    path: OutputPath
    width: Pixels | None = None
    height: Pixels | None = None
    long_side: Pixels | None = None
    print: Print | None = None
    dpi: Dpi = Field(default=None, validate_default=True)
    """Dots per inch: `print.dpi` where only that was given, else 300."""
    bit_depth: Literal[8, 16] = Field(default=None, validate_default=True)
    """16 for TIFF, 8 for PNG and JPEG, unless given."""

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """At most one key may ask for a size."""
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
        file = paper.file_size(dpi)
        for side, length, all_in_all in (
            ("wide", paper.width, file.width),
            ("high", paper.height, file.height),
        ):
            if length.pixels(dpi) < 1 or all_in_all > LONGEST_SIDE:
                pixels = all_in_all if length.pixels(dpi) else 0
                raise ValueError(
                    f"of {dpi:g} makes the print {pixels} pixels {side}; a side must have "
                    f"1 to {LONGEST_SIDE} pixels, so choose another dpi or another size of the print"
                )
        return dpi

    @field_validator("bit_depth", mode="before")
    @classmethod
    def _default_bit_depth(cls, value: Any, info: ValidationInfo) -> Any:
        path = info.data.get("path")
        if value is None:
            return 16 if path and _format(path) == "tiff" else 8
        if value == 16 and path and _format(path) == "jpeg":
            raise ValueError("must be 8 for JPEG, got 16; write a .tif or .png file to keep 16 bits")
        return value

    @property
    def format(self) -> Format:
        """The kind of file, from the path's ending."""
        return _format(self.path)

    @property
    def form(self) -> FileForm:
        """Everything about the file but its place, its size and its pixels."""
        return FileForm(self.format, self.bit_depth, self.dpi)

    @property
    def resolved_dpi(self) -> float:
        """The resolution that the file carries: the same number as `dpi`, wherever it was given."""
        return self.dpi

    @property
    def print_size(self) -> Size | None:
        """The print's size in pixels, its bleed included; None if no print was asked for."""
        return None if self.print is None else self.print.file_size(self.dpi)

    def target(self, content: Size) -> Target:
        """The picture to make of a content of this size (after orientation).

        A print is laid out as `lay_out` says; everything else shows all of the content and keeps its
        aspect. Raises JobError as that does, and if a side that follows from the aspect is longer than
        300,000 pixels.
        """
        if self.print is not None:
            return lay_out(self.print, self.dpi, content)
        size = self._size_by_aspect(content)
        if size.long_side > LONGEST_SIDE:
            raise JobError(
                f"output would have {size} pixels from a content of {content}, but a side may have at most "
                f"{LONGEST_SIDE}; set output.long_side to at most {LONGEST_SIDE}"
            )
        return whole(content, size)

    def _size_by_aspect(self, content: Size) -> Size:
        if self.width is not None:
            return Size(self.width, max(1, round(content.height * self.width / content.width)))
        if self.height is not None:
            return Size(max(1, round(content.width * self.height / content.height)), self.height)
        if self.long_side is not None:
            return content.fit_long_side(self.long_side)
        return content


def _format(path: Path) -> Format:
    return OUTPUT_FORMATS[path.suffix.lower()]
