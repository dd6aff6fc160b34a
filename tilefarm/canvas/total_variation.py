"""Total variation of a raw picture in a file, and its gradient, streamed in bands of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilefarm.geometry import Size
from tilefarm.image.window import open_raw

_VALUES_PER_BAND = 1 << 22

Differences = NDArray[np.float64]


def total_variation(picture: Path, size: Size, exponent: float = 2.0) -> float:
    """Mean of |difference|^exponent of horizontal neighbours plus that of vertical ones (`solve.losses`)."""
    horizontal = vertical = 0.0
    for top, bottom in _bands(size):
        pixels = open_raw(picture, size)
        rows = np.array(pixels[top : min(bottom + 1, size.height)], dtype=np.float64)
        horizontal += float(_powers(np.diff(rows[: bottom - top], axis=1), exponent).sum())
        vertical += float(_powers(np.diff(rows, axis=0), exponent).sum())
        del pixels
    across, down = _pairs(size)
    return horizontal / across + vertical / down


def add_gradient(picture: Path, size: Size, gradient: Path, factor: float, exponent: float = 2.0) -> None:
    """Add `factor` times the gradient of `total_variation` to a raw gradient file."""
    across, down = _pairs(size)
    for top, bottom in _bands(size):
        first, last = max(0, top - 1), min(bottom + 1, size.height)
        pixels = open_raw(picture, size)
        rows = np.array(pixels[first:last], dtype=np.float64)
        del pixels
        slope = np.zeros_like(rows)
        steps = _slopes(np.diff(rows, axis=1), exponent) * (exponent * factor / across)
        slope[:, 1:] += steps
        slope[:, :-1] -= steps
        steps = _slopes(np.diff(rows, axis=0), exponent) * (exponent * factor / down)
        slope[1:] += steps
        slope[:-1] -= steps
        target = open_raw(gradient, size, "r+")
        target[top:bottom] += slope[top - first : bottom - first].astype(np.float32)
        target.flush()
        del target


def _powers(differences: Differences, exponent: float) -> Differences:
    """|d|^p."""
    return np.square(differences) if exponent == 2 else np.abs(differences) ** exponent


def _slopes(differences: Differences, exponent: float) -> Differences:
    """|d|^(p - 1) sign(d): the slope of |d|^p over p, 0 at 0 for p = 1 as well."""
    if exponent == 2:
        return differences
    return np.sign(differences) * np.abs(differences) ** (exponent - 1)


def _pairs(size: Size) -> tuple[int, int]:
    """Numbers of values in horizontal and vertical differences; 1 where there are no neighbours."""
    across = size.height * (size.width - 1) * 3
    down = (size.height - 1) * size.width * 3
    return max(across, 1), max(down, 1)


def _bands(size: Size) -> Iterator[tuple[int, int]]:
    rows = max(1, _VALUES_PER_BAND // (size.width * 3))
    for top in range(0, size.height, rows):
        yield top, min(top + rows, size.height)
