"""A picture and the cores that cover it: sums over all of its values are formed core by core.

A core's values lie together on one machine, be it as rows of a file or as an array of a worker. Sums over a
core, and then over the cores in order, have the same bits either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tilefarm.geometry import Box, Size

BLOCK = 1 << 20
"""Values that are worked on at a time: 4 MiB of each vector that takes part."""


@dataclass(frozen=True)
class Cut:
    """A raw picture, shape (height, width, channels), and its cores."""

    size: Size
    cores: tuple[Box, ...]
    channels: int = 3

    @classmethod
    def of(cls, size: Size, cores: Iterable[Box] = ()) -> Cut:
        """Without cores the whole picture is one."""
        return cls(size, tuple(cores) or (Box.of(size),))

    @classmethod
    def flat(cls, length: int) -> Cut:
        """Of a vector that is no picture: rows of a single value."""
        size = Size(1, length)
        return cls(size, (Box.of(size),), channels=1)

    @property
    def length(self) -> int:
        """Values in all."""
        return self.size.pixels * self.channels

    def blocks(self, core: Box) -> Iterator[Box]:
        """A core's rows, as many at a time as have about `BLOCK` values, from the top."""
        for first, last in row_blocks(core.height, core.width * self.channels):
            yield Box(core.left, core.top + first, core.right, core.top + last)


def row_blocks(height: int, values: int) -> Iterator[tuple[int, int]]:
    """First row and the one behind the last, of rows of so many values; blocks depend on nothing else."""
    rows = max(1, BLOCK // values)
    for first in range(0, height, rows):
        yield first, min(first + rows, height)
