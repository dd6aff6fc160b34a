"""Total variation of a raw picture in a file, and its gradient, streamed in bands of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tilefarm.geometry import Size
from tilefarm.image.window import open_raw

_VALUES_PER_BAND = 1 << 22


def total_variation(picture: Path, size: Size) -> float:
    """Mean squared difference of horizontal neighbours plus that of vertical ones (`solve.losses`)."""
    horizontal = vertical = 0.0
    for top, bottom in _bands(size):
        pixels = open_raw(picture, size)
        rows = np.array(pixels[top : min(bottom + 1, size.height)], dtype=np.float64)
        horizontal += float(np.square(np.diff(rows[: bottom - top], axis=1)).sum())
        vertical += float(np.square(np.diff(rows, axis=0)).sum())
        del pixels
    across, down = _pairs(size)
    return horizontal / across + vertical / down


def add_gradient(picture: Path, size: Size, gradient: Path, factor: float) -> None:
    """Add `factor` times the gradient of `total_variation` to a raw gradient file."""
    across, down = _pairs(size)
    for top, bottom in _bands(size):
        first, last = max(0, top - 1), min(bottom + 1, size.height)
        pixels = open_raw(picture, size)
        rows = np.array(pixels[first:last], dtype=np.float64)
        del pixels
        slope = np.zeros_like(rows)
        steps = np.diff(rows, axis=1) * (2 * factor / across)
        slope[:, 1:] += steps
        slope[:, :-1] -= steps
        steps = np.diff(rows, axis=0) * (2 * factor / down)
        slope[1:] += steps
        slope[:-1] -= steps
        target = open_raw(gradient, size, "r+")
        target[top:bottom] += slope[top - first : bottom - first].astype(np.float32)
        target.flush()
        del target


def _pairs(size: Size) -> tuple[int, int]:
    """Numbers of values in horizontal and vertical differences; 1 where there are no neighbours."""
    across = size.height * (size.width - 1) * 3
    down = (size.height - 1) * size.width * 3
    return max(across, 1), max(down, 1)


def _bands(size: Size) -> Iterator[tuple[int, int]]:
    rows = max(1, _VALUES_PER_BAND // (size.width * 3))
    for top in range(0, size.height, rows):
        yield top, min(top + rows, size.height)
