"""Sums of products without the half that says the same twice: sum(w f f^T) is symmetric."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tilefarm.solve.tasks import FoldedSums, LayerSums


def folded(sums: LayerSums, dtype: DTypeLike = np.float64) -> FoldedSums:
    """The upper triangle, in float64 or as many bits as `dtype` has."""
    rows, columns = _triangle(sums.products.shape[1])
    return FoldedSums(
        sums.weights, sums.sums.astype(dtype), sums.products[:, rows, columns].astype(dtype, copy=False)
    )


def unfolded(sums: FoldedSums) -> LayerSums:
    """The full matrices in float64."""
    regions, entries = sums.products.shape
    channels = (math.isqrt(8 * entries + 1) - 1) // 2
    rows, columns = _triangle(channels)
    full = np.empty((regions, channels, channels))
    full[:, rows, columns] = sums.products
    full[:, columns, rows] = sums.products
    return LayerSums(sums.weights, sums.sums.astype(np.float64), full)


@cache
def _triangle(channels: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the upper triangle's entries."""
    rows, columns = np.triu_indices(channels)
    return rows, columns
