"""The image pyramid: the sizes at which a picture is painted, coarse to fine."""

from __future__ import annotations

import math

from tilefarm.geometry import Size

MINIMUM_SIDE = 32
"""A side that the network still sees something of: two positions at relu5_1 (stride 16)."""


def pyramid(final: Size, smallest: int) -> tuple[Size, ...]:
    """Level sizes from coarse to fine; each is the final size divided by a power of two, rounded.

    The coarsest level's long side is the one nearest to `smallest` (pixels, on a logarithmic scale;
    VGG was trained on 224). A picture so long and thin that its short side would fall below
    `MINIMUM_SIDE` starts at a finer level.
    """
    halvings = max(0, round(math.log2(final.long_side / smallest)))
    while halvings > 0 and final.short_side / 2**halvings < MINIMUM_SIDE:
        halvings -= 1
    return tuple(_divided(final, 2**power) for power in range(halvings, -1, -1))


def style_size(style: Size, level: Size, scale: float) -> Size:
    """The size of a style picture at a level: its aspect, and the level's long side times `scale`.

    So brush strokes keep their size relative to the picture at every level.
    """
    return style.fit_long_side(max(1, round(level.long_side * scale)))


def _divided(size: Size, divisor: int) -> Size:
    return Size(max(1, round(size.width / divisor)), max(1, round(size.height / divisor)))
