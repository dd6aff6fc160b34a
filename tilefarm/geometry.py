"""Sizes and boxes in pixels: x grows to the right, y downwards, boxes are half-open."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Size:
    """A picture's width and height in pixels, both at least 1."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a size must be at least 1x1, got {self.width}x{self.height}")

    @property
    def long_side(self) -> int:
        """The larger of width and height."""
        return max(self.width, self.height)

    @property
    def short_side(self) -> int:
        """The smaller of width and height."""
        return min(self.width, self.height)

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    def fit_long_side(self, long_side: int) -> Size:
        """The size with the same aspect whose long side is `long_side`; no side falls below 1."""
        factor = long_side / self.long_side
        return Size(max(1, round(self.width * factor)), max(1, round(self.height * factor)))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, order=True)
class Box:
    """The pixels with left <= x < right and top <= y < bottom. Coordinates may be negative."""

    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        if self.right <= self.left or self.bottom <= self.top:
            raise ValueError(f"a box must not be empty, got {self}")

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.width, self.height)

    @classmethod
    def of(cls, size: Size) -> Box:
        """The box of a whole picture."""
        return cls(0, 0, size.width, size.height)


@dataclass(frozen=True)
class View:
    """What of a picture a canvas shows, and where; around it the picture goes on mirrored."""

    crop: Box
    """The part that is shown, in the picture's pixels."""
    canvas: Size
    place: Box
    """Where the part lies, in the canvas' pixels."""

    @property
    def factor(self) -> float:
        """How many times the part is enlarged; below 1 where it is reduced."""
        return math.sqrt(self.place.size.pixels / self.crop.size.pixels)

    @classmethod
    def filling(cls, crop: Box, canvas: Size) -> View:
        """The part covers the canvas: nothing is mirrored."""
        return cls(crop, canvas, Box.of(canvas))
