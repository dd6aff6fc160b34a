"""Deep Zoom tiles of a picture that still grows, made as they are asked for: 256 pixels, no overlap."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tilefarm.geometry import Box, Size
from tilefarm.viewer.zoom_levels import highest_level, level_size

TILE = 256
QUALITY = 85
SMALL_SIDE = 2048
"""Levels no longer than this are kept in memory, in 8 bits; finer ones are read when they are asked for."""
_ROWS = 256
"""Of a band: what is in memory in float32 at a time."""

Read = Callable[[Box], NDArray[np.float32]]
"""A region of the picture, shape (height, width, 3), float32, 0..1 and beyond."""
Pixels = NDArray[np.uint8]


class Pyramid:
    """The levels of one state of a picture. The small ones are made at once."""

    def __init__(self, size: Size, read: Read, small_side: int = SMALL_SIDE) -> None:
        """`read` is called later too, for levels with more than `small_side` pixels along their long side."""
        self.size = size
        self._read = read
        self._highest = highest_level(size)
        first = self._highest
        while level_size(size, first).long_side > small_side:
            first -= 1
        self._levels = {first: self._shrunk(Box.of(size), 2 ** (self._highest - first))}
        for level in reversed(range(first)):
            self._levels[level] = to_bytes(
                halved(self._levels[level + 1].astype(np.float32) / np.float32(255))
            )

    def tile(self, level: int, column: int, row: int) -> bytes | None:
        """A tile as JPEG; None where there is none of these numbers."""
        if not 0 <= level <= self._highest:
            return None
        size = level_size(self.size, level)
        left, top = column * TILE, row * TILE
        if column < 0 or row < 0 or left >= size.width or top >= size.height:
            return None
        box = Box(left, top, min(left + TILE, size.width), min(top + TILE, size.height))
        if level in self._levels:
            return to_jpeg(self._levels[level][box.top : box.bottom, box.left : box.right])
        factor = 2 ** (self._highest - level)
        right, bottom = min(box.right * factor, self.size.width), min(box.bottom * factor, self.size.height)
        return to_jpeg(self._shrunk(Box(left * factor, top * factor, right, bottom), factor))

    def _shrunk(self, box: Box, factor: int) -> Pixels:
        """A region, `factor` times smaller, band by band."""
        rows = max(factor, _ROWS // factor * factor)
        bands = []
        for top in range(box.top, box.bottom, rows):
            pixels = self._read(Box(box.left, top, box.right, min(top + rows, box.bottom)))
            np.clip(pixels, 0, 1, out=pixels)  # values far outside must not bleed
            bands.append(to_bytes(shrunk(pixels, factor)))
        return np.concatenate(bands)


def shrunk(pixels: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """The means of squares of `factor` (a power of two) pixels; those at the far edges may be cut off."""
    while factor > 1:
        pixels, factor = halved(pixels), factor // 2
    return pixels


def halved(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The means of 2x2 pixels; an odd last row or column stands for itself."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rows = pixels[0::2] + pixels[1::2]
    means: NDArray[np.float32] = (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)
    return means


def to_bytes(pixels: NDArray[np.float32]) -> Pixels:
    """8 bits; what is no number is black."""
    finite = np.nan_to_num(pixels, nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.clip(finite, 0, 1) * 255).astype(np.uint8)


def to_jpeg(pixels: Pixels) -> bytes:
    """A tile's file."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
