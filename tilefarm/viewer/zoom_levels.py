"""The levels of Microsoft's Deep Zoom, which OpenSeadragon reads.

Level n of N has the size ceil(size / 2^(N - n)), N = ceil(log2(long side)): level 0 is a single pixel, the
highest one is the picture itself.
"""

from __future__ import annotations

from tilefarm.geometry import Size


def highest_level(size: Size) -> int:
    """The number of the level of full size."""
    return (size.long_side - 1).bit_length()


def level_size(size: Size, level: int) -> Size:
    """The size of a level."""
    factor = 2 ** (highest_level(size) - level)
    return Size(-(-size.width // factor), -(-size.height // factor))


def next_coarser(size: Size) -> Size:
    """The size of the level before the highest one."""
    return Size(-(-size.width // 2), -(-size.height // 2))
