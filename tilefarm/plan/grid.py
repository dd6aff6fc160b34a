"""The grid of overlapping tiles: where each tile lies and how much it counts at every pixel.

A level larger than one tile is padded by reflection by at least half a tile on every side and cut
into tiles of size T at stride T/2, so that every pixel of the picture lies in exactly two tiles
along each axis. Tile weights are a separable linear ramp over the whole tile; at stride T/2 two
neighbouring ramps add up to 1. A level that fits in one tile, or that the exact method paints, is one window
with weight 1 and a narrow reflected border.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilefarm.geometry import Box, Size

BORDER = 16
"""Pixels of reflection around a level that is one window: one position of relu5_1. The network pads with
zeros, to which the optimizer answers with a band of grain along the border; here that falls on pixels that
are cut off. It also lets a picture of a single pixel be seen by the deepest layer."""


@dataclass(frozen=True)
class AxisGrid:
    """The tiles along one axis. Offsets are in the picture's pixels; negative ones lie in the padding."""

    length: int
    """Pixels of the picture along this axis."""
    tile: int
    """Pixels of a tile."""
    stride: int
    """Pixels from one tile's start to the next one's."""
    count: int
    """Number of tiles."""
    padding: int
    """Pixels of reflection before the first pixel of the picture."""

    @classmethod
    def overlapping(cls, length: int, tile: int) -> AxisGrid:
        """Tiles of `tile` pixels (even) at half their size, with at least half a tile of padding."""
        if tile < 2 or tile % 2:
            raise ValueError(f"a tile's size must be even and at least 2, got {tile}")
        stride = tile // 2
        count = 1 + -(-length // stride)
        spare = stride * (count + 1) - length - 2 * stride
        return cls(length, tile, stride, count, stride + spare // 2)

    @classmethod
    def whole(cls, length: int) -> AxisGrid:
        """One window over the whole axis, with `BORDER` pixels of reflection before and after it."""
        tile = length + 2 * BORDER
        return cls(length, tile, tile, 1, BORDER)

    @property
    def padded_length(self) -> int:
        """Pixels from the first tile's start to the last one's end."""
        return self.stride * (self.count - 1) + self.tile

    @property
    def padding_after(self) -> int:
        """Pixels of reflection after the last pixel of the picture."""
        return self.padded_length - self.length - self.padding

    def start(self, index: int) -> int:
        """Where tile `index` starts."""
        return index * self.stride - self.padding

    def weights(self) -> NDArray[np.float32]:
        """How much a tile counts at each of its pixels, shape (tile,), between 0 and 1."""
        if self.count == 1:
            return np.ones(self.tile, dtype=np.float32)
        rising = (np.arange(self.stride) + 0.5) / self.stride
        return np.concatenate([rising, rising[::-1]]).astype(np.float32)

    def bands(self) -> Iterator[tuple[int, int, range]]:
        """Consecutive stretches (start, stop) that cover the picture, each with the tiles that meet it."""
        for band in range(self.count + (0 if self.count == 1 else 1)):
            start = max(0, self.start(band))
            stop = min(self.length, self.start(band) + self.stride)
            if start < stop:
                first = band if self.count == 1 else max(0, band - 1)
                yield start, stop, range(first, min(band, self.count - 1) + 1)


@dataclass(frozen=True)
class Grid:
    """The tiles of one level, numbered row by row from the top left."""

    x: AxisGrid
    y: AxisGrid

    @classmethod
    def of(cls, level: Size, tile: int) -> Grid:
        """One window where the level fits in a tile, else overlapping tiles along both axes."""
        if level.long_side <= tile:
            return cls(AxisGrid.whole(level.width), AxisGrid.whole(level.height))
        return cls(AxisGrid.overlapping(level.width, tile), AxisGrid.overlapping(level.height, tile))

    @property
    def is_whole(self) -> bool:
        """Whether the level is one window."""
        return self.tiles == 1

    @property
    def level(self) -> Size:
        """The picture's size."""
        return Size(self.x.length, self.y.length)

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.x.count * self.y.count

    @property
    def tile(self) -> Size:
        """Every tile's size."""
        return Size(self.x.tile, self.y.tile)

    def box(self, index: int) -> Box:
        """The pixels of tile `index`; the box may reach into the padding."""
        row, column = divmod(index, self.x.count)
        left, top = self.x.start(column), self.y.start(row)
        return Box(left, top, left + self.x.tile, top + self.y.tile)
