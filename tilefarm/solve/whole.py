"""The whole picture's loss and its derivatives, from statistics summed over pieces. No torch here.

Any loss that is a function of sums over positions has this form (design of the exact method): the
pieces' sums add up to the whole picture's, the loss and its derivatives with respect to the sums are
formed once, and every piece carries them back to its own pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tilefarm.solve.branches import Branch, joined, leaf, total
from tilefarm.solve.contract import (
    NEAR_CONTENT,
    LayerWeights,
    LevelTargets,
    Losses,
    RegionMoments,
    SolverSettings,
)
from tilefarm.solve.folding import unfolded
from tilefarm.solve.moments import Moments, squared_length
from tilefarm.solve.statistics import comparison
from tilefarm.solve.tasks import Derivatives, LayerSums, PieceSums
from tilefarm.spec.networks import channels_of

SMALLEST_MEAN_SQUARE = 1e-8
"""Below this the content activates nothing at a layer, and errors are not divided by it."""


@dataclass
class WholeSums:
    """Statistics of a whole picture, added up piece by piece in float64."""

    positions: dict[str, int] = field(default_factory=dict)
    branches: tuple[Branch, ...] = ()
    """Of the style layers."""
    content_errors: dict[str, float] = field(default_factory=dict)
    pieces: int = 0

    def add(self, piece: PieceSums) -> None:
        """Add one piece, in order: float sums depend on it. What it has of styles is a leaf of the tree."""
        self.count(piece)
        self.branches = joined([*self.branches, leaf(piece.index, piece.styles)])

    def count(self, piece: PieceSums) -> None:
        """Add one piece, but for its styles."""
        self.pieces += 1
        for layer, count in piece.positions.items():
            self.positions[layer] = self.positions.get(layer, 0) + count
        for layer, error in piece.content_errors.items():
            self.content_errors[layer] = self.content_errors.get(layer, 0.0) + error

    def styles(self) -> dict[str, LayerSums]:
        """The style layers' sums with their full matrices, once all pieces are there (else ValueError)."""
        return {layer: unfolded(sums) for layer, sums in total(self.branches, self.pieces).items()}


@dataclass(frozen=True)
class Evaluated:
    """The whole picture's loss, and what the pieces must know for their share of the gradient."""

    losses: Losses
    derivatives: Derivatives


class WholeObjective:
    """The objective of `solve.objective` for a whole picture; what only depends on targets is formed once."""

    def __init__(self, settings: SolverSettings, targets: LevelTargets) -> None:
        self._settings = settings
        self._targets = targets
        self._style = dict(_shares(settings, settings.style_layers, settings.style_weight))
        self._content = dict(_shares(settings, settings.content_layers, settings.content_weight))
        self._compare = {
            layer: comparison(
                settings.statistics,
                settings.activation_shift,
                _moments(targets.styles[layer]),
                units=settings.units,
            )
            for layer in self._style
        }
        self._region_weights = np.array(targets.region_weights)

    def evaluate(self, sums: WholeSums, tv: float) -> Evaluated:
        """Loss and derivatives, total variation's aside; `tv` is the picture's total variation."""
        settings, scales = self._settings, self._settings.scales
        style, content, found = 0.0, 0.0, sums.styles()
        by_sums, by_products, by_errors = {}, {}, {}
        for layer, share in self._style.items():
            factor = scales.overall * settings.style_weight * share
            error, slopes = self._style_term(layer, found[layer], sums.positions[layer], factor)
            style += share * error
            by_sums[layer], by_products[layer] = (part.astype(np.float32) for part in slopes)
        for layer, share in self._content.items():
            error, by_errors[layer] = self._content_term(
                layer, sums, scales.overall * settings.content_weight * scales.content * share
            )
            content += share * error
        total = scales.overall * (
            settings.style_weight * style
            + settings.content_weight * scales.content * content
            + settings.tv_weight * scales.tv * tv
        )
        losses = Losses(float(total), float(content), float(style), float(tv))
        return Evaluated(losses, Derivatives(by_sums, by_products, by_errors))

    def _style_term(
        self, layer: str, found: LayerSums, positions: int, factor: float
    ) -> tuple[float, Moments]:
        """A layer's error, and `factor` times its slopes by the sums over the regions.

        With an error e of the means S / W over a region of share W / M, dL/dS = factor (W / M) e' / W.
        """
        divisor = np.maximum(found.weights, np.finfo(np.float64).tiny)
        errors, slopes = self._compare[layer](
            Moments(found.sums / divisor[:, None], found.products / divisor[:, None, None])
        )
        error = float((self._region_weights * found.weights / positions * errors).sum())
        scale = self._region_weights / positions
        by_sums = Moments(slopes.mean * scale[:, None], slopes.product * scale[:, None, None])
        if self._settings.normalize_gradients:
            squares = squared_length(by_sums, Moments(found.sums, found.products), found.weights)
            factor /= max(float(squares.sum()) ** 0.5, float(np.finfo(np.float32).tiny))
        return error, Moments(factor * by_sums.mean, factor * by_sums.product)

    def _content_term(self, layer: str, sums: WholeSums, factor: float) -> tuple[float, float]:
        """A layer's error, and `factor` times its slope by sum((F - P)^2)."""
        square = sums.content_errors[layer]
        norm = _content_norm(self._settings, self._targets, sums, layer)
        slope = 1 / norm
        if self._settings.normalize_gradients:  # the gradient by the features is 2 slope (F - P)
            slope = 0.5 / max(square**0.5, NEAR_CONTENT * norm**0.5)
        return square / norm, factor * slope


def _moments(known: RegionMoments) -> Moments:
    return Moments(known.means.astype(np.float64), known.products.astype(np.float64))


def _content_norm(settings: SolverSettings, targets: LevelTargets, sums: WholeSums, layer: str) -> float:
    """What sum((F - P)^2) is divided by: the number of features, in relative units times mean(P^2)."""
    mean_square = targets.content_mean_squares[layer] if settings.units == "relative" else 1.0
    scale = mean_square if mean_square > SMALLEST_MEAN_SQUARE else 1.0
    return sums.positions[layer] * channels_of(settings.network)[layer] * scale


def _shares(
    settings: SolverSettings, layers: LayerWeights, term_weight: float
) -> Iterable[tuple[str, float]]:
    """Layers that take part with their share of the term; none where the term has no weight."""
    if not term_weight:
        return []
    total = settings.layer_total(weight for _, weight in layers)
    return [(layer, weight / total) for layer, weight in layers if weight]
