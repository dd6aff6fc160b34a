"""Total variation of a part of a picture, and its slope, in numpy: exact across the parts' borders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tilefarm.geometry import Box, Size
from tilefarm.plan.cut import row_blocks

Differences = NDArray[np.float64]


def pairs(size: Size) -> tuple[int, int]:
    """Numbers of values in a picture's horizontal and vertical differences; 1 where there are none."""
    across = size.height * (size.width - 1) * 3
    down = (size.height - 1) * size.width * 3
    return max(across, 1), max(down, 1)


def variation_sums(window: NDArray[np.float32], core: Size, exponent: float) -> tuple[float, float]:
    """sum |d|^p of each pixel of a core with the one to its right, and with the one below.

    `window` begins with the core and has a column and a row more where the picture has them.
    """
    horizontal = vertical = 0.0
    for first, last in row_blocks(core.height, core.width * 3):
        rows = np.array(window[first : last + 1], dtype=np.float64)
        horizontal += _sum(np.diff(rows[: last - first], axis=1), exponent)
        vertical += _sum(np.diff(rows[:, : core.width], axis=0), exponent)
    return horizontal, vertical


def slopes(rows: Differences, size: Size, factor: float, exponent: float) -> Differences:
    """`factor` times the slope of the total variation of a picture of `size`, by the pixels of `rows`.

    Right where all neighbours that the picture has are among `rows`.
    """
    across, down = pairs(size)
    slope = np.zeros_like(rows)
    steps = _slopes(np.diff(rows, axis=1), exponent) * (exponent * factor / across)
    slope[:, 1:] += steps
    slope[:, :-1] -= steps
    steps = _slopes(np.diff(rows, axis=0), exponent) * (exponent * factor / down)
    slope[1:] += steps
    slope[:-1] -= steps
    return slope


def add_slopes(
    target: NDArray[np.float32],
    crop: NDArray[np.float32],
    core: Box,
    size: Size,
    factor: float,
    exponent: float,
) -> None:
    """Add the slopes at a core to `target`, the core's gradient. `core`: its place in `crop`."""
    height, width = crop.shape[:2]
    left, right = max(0, core.left - 1), min(width, core.right + 1)
    for first, last in row_blocks(core.height, core.width * 3):
        top, bottom = max(0, core.top + first - 1), min(height, core.top + last + 1)
        slope = slopes(np.array(crop[top:bottom, left:right], dtype=np.float64), size, factor, exponent)
        inner = slope[core.top + first - top :, core.left - left :][: last - first, : core.width]
        target[first:last] += inner.astype(np.float32)


def _sum(differences: Differences, exponent: float) -> float:
    """Of |d|^p."""
    powers = np.square(differences) if exponent == 2 else np.abs(differences) ** exponent
    return float(powers.sum())


def _slopes(differences: Differences, exponent: float) -> Differences:
    """|d|^(p - 1) sign(d): the slope of |d|^p over p, 0 at 0 for p = 1 as well."""
    if exponent == 2:
        return differences
    return np.sign(differences) * np.abs(differences) ** (exponent - 1)
