"""Targets, sums and slopes for tests that know no other statistic than Gram matrices. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilefarm.solve.contract import RegionMoments
from tilefarm.solve.tasks import Derivatives, LayerSums

Matrices = Mapping[str, NDArray[Any]]
"""Per layer, shape (channels, channels)."""


def gram_styles(grams: Matrices) -> dict[str, RegionMoments]:
    """One region's moments with these Gram matrices, in their own dtype, and means of 0."""
    return {name: RegionMoments(_no_means(gram), gram[None]) for name, gram in grams.items()}


def gram_sums(grams: Matrices) -> dict[str, LayerSums]:
    """Sums over a single position, which has these Gram matrices and features of 0."""
    return {name: LayerSums(np.ones(1), _no_means(gram), gram[None]) for name, gram in grams.items()}


def gram_slopes(products: Matrices, content_errors: dict[str, float]) -> Derivatives:
    """Derivatives of one region; those by the sums of features are 0."""
    return Derivatives(
        {name: _no_means(product) for name, product in products.items()},
        {name: product[None] for name, product in products.items()},
        content_errors,
    )


def _no_means(matrix: NDArray[Any]) -> NDArray[Any]:
    return np.zeros((1, len(matrix)), matrix.dtype)
