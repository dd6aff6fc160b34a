"""Sizes on paper: lengths with their unit, and the `output.print` section."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator

from tilefarm.spec.section import Section
from tilefarm.spec.values import Number, found

LONGEST_SIDE = 300_000
"""Pixels; 25 metres at 300 dpi."""
DEFAULT_DPI = 300.0

_LENGTH = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*(cm|mm|in)")
_PER_INCH = {"in": Decimal(1), "cm": Decimal("2.54"), "mm": Decimal("25.4")}

Dpi = Annotated[Number, Field(ge=1, le=9600)]


@dataclass(frozen=True)
class Length:
    """A length on paper, kept in the unit it was written in."""

    amount: Decimal
    unit: Literal["cm", "mm", "in"]

    def pixels(self, dpi: float) -> int:
        """round(inches * dpi)."""
        return round(float(self.amount / _PER_INCH[self.unit]) * dpi)

    def __str__(self) -> str:
        return f"{self.amount:f}{self.unit}"


def _length(value: Any) -> Length:
    if isinstance(value, Length):
        return value
    match = _LENGTH.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or not Decimal(match[1]):
        raise ValueError(
            f"must be a length with its unit such as 40cm, 400mm or 16in, and more than 0, got {found(value)}"
        )
    return Length(Decimal(match[1]), match[2])  # type: ignore[arg-type]  # the pattern knows the units


PaperLength = Annotated[Length, PlainValidator(_length), PlainSerializer(str, return_type=str)]


class Print(Section):
    """A size on paper."""

    width: PaperLength
    height: PaperLength
    dpi: Dpi | None = None
    """None: `output.dpi` decides."""
