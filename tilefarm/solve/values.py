"""Sums over the values of a core, in an order that depends on its shape alone. No torch here.

So they have the same bits wherever the core lies: cut out of a file, or as a worker's own array.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tilefarm.plan.cut import row_blocks

Values = NDArray[np.float32]
_LANE = 4096
"""Values that are added up in float32; at this length pairwise rounding stays near 1e-7."""


def dots(rows: Sequence[Values], columns: Sequence[Values]) -> NDArray[np.float64]:
    """All dot products of cores, (height, width, channels) each; shape (len(rows), len(columns))."""
    total = np.zeros((len(rows), len(columns)))
    height, width, channels = rows[0].shape
    for first, last in row_blocks(height, width * channels):
        total += block_dots([each[first:last] for each in rows], [each[first:last] for each in columns])
    return total


def block_dots(rows: Sequence[Values], columns: Sequence[Values]) -> NDArray[np.float64]:
    """The same of one block of rows."""
    return np.array([[_dot(left.reshape(-1), right.reshape(-1)) for right in columns] for left in rows])


def norm1(core: Values) -> float:
    """The sum of absolute values."""
    height, width, channels = core.shape
    return sum((block_norm1(core[a:b]) for a, b in row_blocks(height, width * channels)), 0.0)


def block_norm1(block: Values) -> float:
    """The same of one block of rows."""
    return float(np.abs(block.reshape(-1)).sum(dtype=np.float64))


def combined(terms: Sequence[tuple[float, Values]]) -> Values:
    """The sum of factor * vector, in this order, in float32."""
    total = np.zeros(terms[0][1].shape, dtype=np.float32)
    for factor, values in terms:
        total += np.float32(factor) * values
    return total


def _dot(left: Values, right: Values) -> float:
    """In float32 within lanes, in float64 across them. einsum, since BLAS would split over its threads."""
    whole = len(left) // _LANE * _LANE
    lanes = np.einsum("ij,ij->i", left[:whole].reshape(-1, _LANE), right[:whole].reshape(-1, _LANE))
    rest = np.einsum("i,i->", left[whole:], right[whole:])
    return float(lanes.sum(dtype=np.float64) + rest)
