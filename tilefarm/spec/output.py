"""The `output` section: where the picture goes, and how large it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from tilefarm.errors import JobError
from tilefarm.geometry import Size
from tilefarm.spec.destination import DestinationKey, destination_conflicts, with_local_copy
from tilefarm.spec.file_form import FileForm
from tilefarm.spec.file_keys import FileKeys
from tilefarm.spec.output_presets import SIZE_KEYS as SIZE_KEYS
from tilefarm.spec.output_presets import OutputPresetName, preset_conflicts, with_output_preset
from tilefarm.spec.paper import DEFAULT_DPI, LONGEST_SIDE, Dpi, Print
from tilefarm.spec.proof import ProofKey
from tilefarm.spec.section import Conflict
from tilefarm.spec.sheet import Target, lay_out, whole

Pixels = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]


class Output(FileKeys):
    """Where the picture goes, its form, its size and resolution."""

    preset: OutputPresetName | None = None
    """A purpose whose settings stand in for the defaults; says nothing once they are filled in."""
    width: Pixels | None = None
    height: Pixels | None = None
    long_side: Pixels | None = None
    print: Print | None = None
    dpi: Dpi = Field(default=None, validate_default=True)
    """Dots per inch: `print.dpi` where only that was given, else 300."""
    provenance: bool = True
    """Whether the file carries a record of how it was made."""
    proof: ProofKey = None
    address: DestinationKey = None
    """Where the file is sent when it is finished and checked; what a `path` that is an address stands for."""

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """At most one key may ask for a size; and those of the preset and of the file."""
        yield from preset_conflicts(given)
        yield from destination_conflicts(given)
        yield from super().conflicts(with_output_preset(given), folder)
        sizes = [key for key in SIZE_KEYS if given.get(key) is not None]
        for other in sizes[1:]:
            yield Conflict(
                (other,),
                f"cannot be given together with output.{sizes[0]}; "
                "keep only one of width, height, long_side and print",
            )

    @classmethod
    def prepared(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The preset's keys, as if they had been given, and the file here for one that goes elsewhere."""
        return with_local_copy(with_output_preset(given))

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

    def form(self, seed: int, wide: bool = False) -> FileForm:
        """Everything about the file but its place, its size and its pixels.

        `seed` is for its dithering; `wide`: the pixels are of `color.working_space: wide`.
        """
        return self.form_at(self.dpi, seed, wide)

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
