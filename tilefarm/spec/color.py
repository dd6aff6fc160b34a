"""The `color` section: whose colours the picture has, and at which moment it gets them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from tilefarm.spec.section import Conflict, Section

ColorMode = Literal[
    "style",
    "content_luma",
    "content_hsv",
    "histogram_rgb",
    "histogram_hsv",
    "statistics",
    "luminance",
]
When = Literal["before", "after", "every_level"]
WorkingSpace = Literal["srgb", "wide"]

MATCHING: tuple[ColorMode, ...] = ("histogram_rgb", "histogram_hsv", "statistics")
"""Modes that need only the content's distribution of colours, and not its pixels in their places."""
PIXELWISE: tuple[ColorMode, ...] = ("content_luma", "content_hsv")
"""Modes that combine pixels of the picture with those of the content at the same places."""


class Color(Section):
    """Whose colours the picture has. The short form `color: MODE` is a section with this mode."""

    mode: ColorMode = "style"
    when: When | None = None
    """None: before for modes that match distributions, after for those that take the content's pixels."""
    working_space: WorkingSpace = "srgb"
    """What numbers pictures are painted in. `wide`: sRGB's own, which go on below 0 and above 1 for colours
    that sRGB lacks (the idea of scRGB, IEC 61966-2-2, with sRGB's curve mirrored at 0)."""

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """A moment must be one that the mode knows."""
        mode, when = given.get("mode", "style"), given.get("when")
        if mode in PIXELWISE and when == "before":
            yield Conflict(
                ("when",),
                f"must be after or every_level for {mode}, which puts the content's pixels in the same "
                "places of the picture, got 'before'",
            )
        if mode in ("style", "luminance") and when is not None:
            why = "changes no colours" if mode == "style" else "paints the brightness alone from the start"
            yield Conflict(("when",), f"cannot be given for color.mode {mode}, which {why}; remove it")
        if given.get("working_space") == "wide" and mode != "style":
            yield Conflict(
                ("working_space",),
                f"must be srgb for color.mode {mode}, which knows no colours beyond sRGB, got 'wide'",
            )

    @property
    def moment(self) -> When | None:
        """When colours are changed; None for modes that have no such moment."""
        if self.when is not None:
            return self.when
        if self.mode in MATCHING:
            return "before"
        return "after" if self.mode in PIXELWISE else None

    @property
    def grey(self) -> bool:
        """Whether only the brightness is painted."""
        return self.mode == "luminance"

    @property
    def wide(self) -> bool:
        """Whether colours that sRGB lacks are kept, as numbers outside 0..1."""
        return self.working_space == "wide"

    @property
    def of_styles(self) -> ColorMode:
        """What is done to the paintings before they are measured; `style` for nothing."""
        return self.mode if self.moment == "before" else "style"

    @property
    def of_levels(self) -> ColorMode:
        """What is done to a finished level before it starts the next one; `style` for nothing."""
        return self.mode if self.moment == "every_level" else "style"

    @property
    def of_result(self) -> ColorMode:
        """What is done to the finished canvas for the output file; `style` for nothing."""
        if self.grey:
            return "content_luma"
        return self.mode if self.moment in ("after", "every_level") else "style"

    @property
    def deciding(self) -> dict[str, str]:
        """What decides the values of the canvas, ready for JSON; empty where only the output changes."""
        space: dict[str, str] = {"working_space": self.working_space} if self.wide else {}
        if self.grey or self.moment in ("before", "every_level"):
            return {"mode": self.mode, "when": self.moment or ""} | space
        return space


def from_short_form(value: Any) -> Any:
    """The section that a mode alone stands for; anything else as it is."""
    return {"mode": value} if isinstance(value, str) else value


ColorChoice = Annotated[Color, BeforeValidator(from_short_form)]
