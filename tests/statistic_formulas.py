"""The style statistics once more, straight from features in torch, to check `solve.statistics` against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Formula = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Features (M, N), positions' weights (M,) that add up to 1, style features (P, N) -> error."""


def gram(shift: float) -> Formula:
    """Gram matrices of shifted features."""

    def error(features: Tensor, weights: Tensor, style: Tensor) -> Tensor:
        wanted = (style + shift).T @ (style + shift) / len(style)
        found = ((features + shift) * weights[:, None]).T @ (features + shift)
        return (found - wanted).square().sum() / wanted.square().sum()

    return error


def mean(features: Tensor, weights: Tensor, style: Tensor) -> Tensor:
    """Channel means."""
    return ((weights @ features) - style.mean(0)).square().sum() / style.mean(0).square().sum()


def std(features: Tensor, weights: Tensor, style: Tensor) -> Tensor:
    """Channel deviations."""
    wanted = style.std(0, correction=0)
    return (_deviation(features, weights) - wanted).square().sum() / wanted.square().sum()


def remap(features: Tensor, weights: Tensor, style: Tensor) -> Tensor:
    """The features' distance from themselves with the style's mean and deviation, held constant."""
    centred = features - weights @ features
    target = centred / _deviation(features, weights) * style.std(0, correction=0) + style.mean(0)
    return (weights @ (features - target.detach()).square()).sum() / style.square().sum(1).mean()


def wasserstein(features: Tensor, weights: Tensor, style: Tensor) -> Tensor:
    """tr (C^1/2 C* C^1/2)^1/2 is the nuclear norm of X Y^T for C = X^T X and C* = Y^T Y."""
    x = (features - weights @ features) * weights.sqrt()[:, None]
    y = (style - style.mean(0)) / len(style) ** 0.5
    spread = x.square().sum() + y.square().sum() - 2 * torch.linalg.matrix_norm(x @ y.T, "nuc")
    means = (weights @ features - style.mean(0)).square().sum()
    error: Tensor = (means + spread) / style.square().sum(1).mean()
    return error


FORMULAS: dict[str, Formula] = {
    "gram": gram(0.0),
    "mean": mean,
    "std": std,
    "remap": remap,
    "wasserstein": wasserstein,
}


def _deviation(features: Tensor, weights: Tensor) -> Tensor:
    variance = weights @ (features - weights @ features).square()
    smallest = 1e-6 * variance.mean().detach()  # the root of a constant has no slope
    deviation: Tensor = torch.sqrt(variance + smallest)
    return deviation
