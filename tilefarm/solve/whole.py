"""The whole picture's loss and its derivatives, from statistics summed over pieces. No torch here.

Any loss that is a function of sums over positions has this form (design of the exact method): the
pieces' sums add up to the whole picture's, the loss and its derivatives with respect to the sums are
formed once, and every piece carries them back to its own pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tilefarm.solve.contract import (
    CONTENT_SCALE,
    OVERALL_SCALE,
    TV_SCALE,
    Derivatives,
    LayerWeights,
    LevelTargets,
    Losses,
    PieceSums,
    SolverSettings,
)
from tilefarm.spec.networks import channels_of

SMALLEST_MEAN_SQUARE = 1e-8
"""Below this the content activates nothing at a layer, and errors are not divided by it."""


@dataclass
class WholeSums:
    """Statistics of a whole picture, added up piece by piece in float64."""

    positions: dict[str, int] = field(default_factory=dict)
    products: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    content_errors: dict[str, float] = field(default_factory=dict)

    def add(self, piece: PieceSums) -> None:
        """Add one piece. Pieces must be added in a fixed order: float sums depend on it."""
        for layer, count in piece.positions.items():
            self.positions[layer] = self.positions.get(layer, 0) + count
        for layer, product in piece.products.items():
            before = self.products.get(layer)
            self.products[layer] = product.copy() if before is None else before + product
        for layer, error in piece.content_errors.items():
            self.content_errors[layer] = self.content_errors.get(layer, 0.0) + error

    def gram(self, layer: str) -> NDArray[np.float64]:
        """G = sum(f f^T) / positions, shape (channels, channels)."""
        return self.products[layer] / self.positions[layer]


def whole_losses(settings: SolverSettings, targets: LevelTargets, sums: WholeSums, tv: float) -> Losses:
    """The objective of `solve.objective` for the whole picture; `tv` is its total variation."""
    style = sum(
        share * _style_error(sums.gram(layer), targets.grams[layer])
        for layer, share in _shares(settings.style_layers, settings.style_weight)
    )
    content = sum(
        share * sums.content_errors[layer] / _content_norm(settings, targets, sums, layer)
        for layer, share in _shares(settings.content_layers, settings.content_weight)
    )
    total = OVERALL_SCALE * (
        settings.style_weight * style
        + settings.content_weight * CONTENT_SCALE * content
        + settings.tv_weight * TV_SCALE * tv
    )
    return Losses(float(total), float(content), float(style), float(tv))


def derivatives(settings: SolverSettings, targets: LevelTargets, sums: WholeSums) -> Derivatives:
    """dL / d sum(f f^T) and dL / d sum((F - P)^2) of the total loss, total variation aside.

    With E = sum((G - A)^2) / sum(A^2) and G = S / M: dE / dS = 2 (G - A) / (M sum(A^2)).
    """
    products = {}
    for layer, share in _shares(settings.style_layers, settings.style_weight):
        target = targets.grams[layer].astype(np.float64)
        scale = 2 * OVERALL_SCALE * settings.style_weight * share
        scale /= sums.positions[layer] * max(float(np.square(target).sum()), np.finfo(np.float32).tiny)
        products[layer] = (scale * (sums.gram(layer) - target)).astype(np.float32)
    content_scale = OVERALL_SCALE * settings.content_weight * CONTENT_SCALE
    content_errors = {
        layer: content_scale * share / _content_norm(settings, targets, sums, layer)
        for layer, share in _shares(settings.content_layers, settings.content_weight)
    }
    return Derivatives(products, content_errors)


def _style_error(gram: NDArray[np.float64], target: NDArray[np.float32]) -> float:
    """sum((G - A)^2) / sum(A^2) in float64."""
    wanted = target.astype(np.float64)
    size = max(float(np.square(wanted).sum()), float(np.finfo(np.float32).tiny))
    return float(np.square(gram - wanted).sum() / size)


def _content_norm(settings: SolverSettings, targets: LevelTargets, sums: WholeSums, layer: str) -> float:
    """What sum((F - P)^2) is divided by: the number of features times mean(P^2)."""
    mean_square = targets.content_mean_squares[layer]
    scale = mean_square if mean_square > SMALLEST_MEAN_SQUARE else 1.0
    return sums.positions[layer] * channels_of(settings.network)[layer] * scale


def _shares(layers: LayerWeights, term_weight: float) -> Iterable[tuple[str, float]]:
    """Layers that take part with their share of the term; none where the term has no weight."""
    if not term_weight:
        return []
    total = sum(weight for _, weight in layers)
    return [(layer, weight / total) for layer, weight in layers if weight]
