"""Total variation of a raw picture in a file, and its gradient, streamed in bands of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tilefarm.geometry import Size
from tilefarm.image.window import open_raw
from tilefarm.plan.cut import Cut
from tilefarm.solve.variation import pairs, slopes, variation_sums

_VALUES_PER_BAND = 1 << 22


def total_variation(picture: Path, cut: Cut, exponent: float = 2.0) -> float:
    """Mean of |difference|^exponent of horizontal neighbours plus that of vertical ones (`solve.losses`)."""
    horizontal = vertical = 0.0
    for core in cut.cores:
        window = open_raw(picture, cut.size)[core.top : core.bottom + 1, core.left : core.right + 1]
        across, down = variation_sums(window, core.size, exponent)
        horizontal += across
        vertical += down
    return mean_variation(horizontal, vertical, cut.size)


def mean_variation(horizontal: float, vertical: float, size: Size) -> float:
    """The total variation of a picture, from its sums over all neighbours."""
    across, down = pairs(size)
    return horizontal / across + vertical / down


def add_gradient(picture: Path, size: Size, gradient: Path, factor: float, exponent: float = 2.0) -> None:
    """Add `factor` times the gradient of `total_variation` to a raw gradient file."""
    for top, bottom in _bands(size):
        first, last = max(0, top - 1), min(bottom + 1, size.height)
        pixels = open_raw(picture, size)
        rows = np.array(pixels[first:last], dtype=np.float64)
        del pixels
        slope = slopes(rows, size, factor, exponent)
        target = open_raw(gradient, size, "r+")
        target[top:bottom] += slope[top - first : bottom - first].astype(np.float32)
        target.flush()
        del target


def _bands(size: Size) -> Iterator[tuple[int, int]]:
    rows = max(1, _VALUES_PER_BAND // (size.width * 3))
    for top in range(0, size.height, rows):
        yield top, min(top + rows, size.height)
