"""Sizes on paper: lengths with their unit, and the `output.print` section."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, ValidationInfo, field_validator

from tilefarm.geometry import Size
from tilefarm.spec.alpha import colour, rgb_of
from tilefarm.spec.section import Conflict, Section
from tilefarm.spec.values import Number, found

LONGEST_SIDE = 300_000
"""Pixels; 25 metres at 300 dpi."""
DEFAULT_DPI = 300.0

_LENGTH = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*(cm|mm|in)")
_PER_INCH = {"in": Decimal(1), "cm": Decimal("2.54"), "mm": Decimal("25.4")}

_BLEED_PART = 4
"""Bleed is at most this part of the shorter side: one in four."""
_MIRROR = "mirror"

Dpi = Annotated[Number, Field(ge=1, le=9600)]


@dataclass(frozen=True)
class Length:
    """A length on paper, kept in the unit it was written in."""

    amount: Decimal
    unit: Literal["cm", "mm", "in"]

    @property
    def inches(self) -> Decimal:
        """The length in inches, of 25.4 mm."""
        return self.amount / _PER_INCH[self.unit]

    def pixels(self, dpi: float) -> int:
        """round(inches * dpi)."""
        return round(float(self.inches) * dpi)

    def __str__(self) -> str:
        return f"{self.amount:f}{self.unit}"


def _length(value: Any) -> Length:
    if isinstance(value, Length):
        return value
    length = _parsed(value)
    if length is None or not length.amount:
        raise ValueError(
            f"must be a length with its unit such as 40cm, 400mm or 16in, and more than 0, got {found(value)}"
        )
    return length


def _bleed(value: Any) -> Length:
    if isinstance(value, Length):
        return value
    length = NO_BLEED if value == 0 and not isinstance(value, bool) else _parsed(value)
    if length is None:
        raise ValueError(f"must be 0 or a length with its unit such as 3mm or 0.125in, got {found(value)}")
    return length


def _parsed(value: Any) -> Length | None:
    match = _LENGTH.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    return Length(Decimal(match[1]), match[2])  # type: ignore[arg-type]  # the pattern knows the units


NO_BLEED = Length(Decimal(0), "mm")

PaperLength = Annotated[Length, PlainValidator(_length), PlainSerializer(str, return_type=str)]
Bleed = Annotated[Length, PlainValidator(_bleed), PlainSerializer(str, return_type=str)]


def _pad(value: Any) -> str:
    return colour(value, _MIRROR)


def _is_none(value: Any) -> bool:
    try:
        return not _bleed(value).amount
    except ValueError:
        return False


def _is_pad(value: Any) -> bool:
    try:
        _pad(value)
    except ValueError:
        return False
    return True


class Print(Section):
    """A size on paper."""

    width: PaperLength
    height: PaperLength
    """Of the sheet when it has been cut."""
    dpi: Dpi | None = None
    """None: `output.dpi` decides."""
    bleed: Bleed = NO_BLEED
    """What the file has more on each of the four sides, to be cut off."""
    fit: Literal["crop", "pad", "exact"] = "crop"
    """How a content of another shape comes onto the sheet; see `sheet.lay_out`."""
    pad: Annotated[str, PlainValidator(_pad)] = _MIRROR
    """What is around the content where it does not cover the file: its mirrored continuation, which is
    painted too, or plain paper of a colour, which is not."""

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """A colour needs a place: where the content covers the file there is none."""
        fit, pad = given.get("fit", "crop"), given.get("pad", _MIRROR)
        if pad == _MIRROR or not _is_pad(pad):
            return
        advice = "which shows all of the content, or leave pad out"
        if fit == "crop":
            yield Conflict(
                ("pad",), f"changes nothing with fit: crop, got {found(pad)}; use fit: pad, {advice}"
            )
        elif fit == "exact" and _is_none(given.get("bleed", NO_BLEED)):
            yield Conflict(
                ("pad",),
                f"changes nothing with fit: exact and no bleed, got {found(pad)}; use fit: pad, {advice}",
            )

    @field_validator("bleed")
    @classmethod
    def _bleed_suits_sheet(cls, bleed: Length, info: ValidationInfo) -> Length:
        sides = [info.data[key] for key in ("width", "height") if key in info.data]
        for side in sides:
            if bleed.inches * _BLEED_PART > side.inches:
                raise ValueError(
                    f"must be at most a quarter of the sheet's shorter side, {min(sides, key=_inches)}, got "
                    f"{bleed}; print shops ask for 2mm to 5mm"
                )
        return bleed

    @property
    def margin(self) -> tuple[float, float, float] | None:
        """The colour of the plain paper around the content, sRGB, 0..1; None where all is painted."""
        return None if self.pad == _MIRROR else rgb_of(self.pad)

    def trimmed_size(self, dpi: float) -> Size:
        """The sheet when it has been cut: round(inches * dpi) pixels, at least 1."""
        return Size(max(1, self.width.pixels(dpi)), max(1, self.height.pixels(dpi)))

    def file_size(self, dpi: float) -> Size:
        """The sheet with its bleed: round((inches + 2 bleed) * dpi) pixels, at least 1."""
        width, height = (
            max(1, round(float(side.inches + 2 * self.bleed.inches) * dpi))
            for side in (self.width, self.height)
        )
        return Size(width, height)

    def deciding(self, dpi: float) -> dict[str, object]:
        """What decides the painted pixels; a print without the later keys is its file's size alone.

        A margin of plain paper comes around the finished picture: neither its colour nor the bleed counts.
        """
        file, trimmed = self.file_size(dpi), self.trimmed_size(dpi)
        if self.fit == "crop":
            return {"print": [file.width, file.height]}
        if self.margin is not None:
            return {"print": [trimmed.width, trimmed.height], "fit": "alone"}
        trim = [trimmed.width, trimmed.height]
        return {"print": [file.width, file.height], "fit": self.fit, "trim": trim}


def _inches(length: Length) -> Decimal:
    return length.inches
