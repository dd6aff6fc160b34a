"""The `alpha` section: what becomes of transparency."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainValidator

from tilefarm.spec.section import Conflict, Section, written
from tilefarm.spec.values import found

_NAMED = {"#ffffff": "white", "#000000": "black"}
_CODE = re.compile(r"#[0-9a-f]{6}")


def colour(value: Any, *others: str) -> str:
    """A colour in one form, or one of the other words. Raises ValueError for anything else."""
    text = value.lower() if isinstance(value, str) else ""
    text = _NAMED.get(text, text)
    if text in (*others, *_NAMED.values()) or _CODE.fullmatch(text):
        return text
    words = ", ".join([*others, "white", "black"])
    raise ValueError(f"must be {words} or a colour such as '#c0ffee', in quotes, got {found(value)}")


def rgb_of(colour: str) -> tuple[float, float, float]:
    """A colour's red, green and blue in sRGB, 0..1."""
    code = {name: code for code, name in _NAMED.items()}.get(colour, colour)
    red, green, blue = (int(code[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


Background = Annotated[str, PlainValidator(colour)]


class Alpha(Section):
    """What becomes of transparency. The short form `alpha: MODE` is a section with this mode."""

    mode: Literal["flatten", "keep"] = "flatten"
    """keep: the content's, at the output's size, is written into the output as well."""
    background: Background = "white"
    """What shows through the content, the styles and a start where they are clear, in sRGB."""

    @property
    def rgb(self) -> tuple[float, float, float]:
        """The background's red, green and blue, 0..1."""
        return rgb_of(self.background)


def from_short_form(value: Any) -> Any:
    """The section that a mode stands for; anything else as it is."""
    return {"mode": value} if isinstance(value, str) else value


AlphaChoice = Annotated[Alpha, BeforeValidator(from_short_form)]


def alpha_without_place(given: Mapping[str, Any]) -> Iterator[Conflict]:
    """JPEG has no transparency."""
    alpha, path = given.get("alpha"), written(given.get("output"), "path")
    mode = alpha if isinstance(alpha, str) else written(alpha, "mode")
    if mode == "keep" and isinstance(path, str | Path) and Path(path).suffix.lower() in (".jpg", ".jpeg"):
        place = ("alpha",) if isinstance(alpha, str) else ("alpha", "mode")
        yield Conflict(
            place, "must be flatten for JPEG, which has no transparency; write a .tif, .png or .webp file"
        )
