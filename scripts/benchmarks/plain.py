"""The step of public style transfer tools, written as they write it: what tilefarm's own is compared with.

Eager PyTorch in float32 and its usual layout NCHW: one module after the other, losses of the features,
autograd, and torch.optim.LBFGS with a closure. The network, its weights and the objective are the default
job's, whose style errors are those of Gram matrices, so both do the same arithmetic; weights take no
gradients and nothing runs behind the deepest layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from scripts.benchmarks.workload import default_stages
from tilefarm.solve.contract import (
    CONTENT_SCALE,
    OVERALL_SCALE,
    LayerWeights,
    LevelTargets,
    Picture,
    SolverSettings,
    Weights,
)
from tilefarm.solve.network import preprocess
from tilefarm.spec.networks import Convolution


class PlainObjective:
    """The default job's objective of a whole picture in one graph; by default it has no total variation."""

    def __init__(
        self, settings: SolverSettings, weights: Weights, targets: LevelTargets, content: Picture
    ) -> None:
        """Computes the features of `content`, (height, width, 3), once."""
        self._settings = settings
        self._preprocessing = weights.preprocessing
        self._parameters = {name: torch.tensor(values) for name, values in weights.arrays.items()}
        self._targets = {name: torch.tensor(style.products[0]) for name, style in targets.styles.items()}
        self._mean_squares = targets.content_mean_squares
        with torch.no_grad():
            features = self._features(nchw(content))
        self._content = {name: features[name] for name, _ in settings.content_layers}

    def loss(self, picture: Tensor) -> Tensor:
        """The total loss, a scalar, of a picture (1, 3, height, width)."""
        settings, features = self._settings, self._features(picture)
        style = sum(
            share * self._style_loss(features[name], self._targets[name])
            for name, share in _shares(settings.style_layers)
        )
        content = sum(
            share * F.mse_loss(features[name], self._content[name]) / self._mean_squares[name]
            for name, share in _shares(settings.content_layers)
        )
        weighted = settings.style_weight * style + settings.content_weight * CONTENT_SCALE * content
        return OVERALL_SCALE * torch.as_tensor(weighted)

    def _features(self, picture: Tensor) -> dict[str, Tensor]:
        """Every rectified layer by name."""
        found = {}
        x = preprocess(picture, self._preprocessing)
        for stage in default_stages():
            if not isinstance(stage, Convolution):
                x = F.max_pool2d(x, 2)
                continue
            weight, bias = (self._parameters[f"{stage.name}.{kind}"] for kind in ("weight", "bias"))
            x = F.relu(F.conv2d(x, weight, bias, padding=1))
            found[stage.output] = x
        return found

    @staticmethod
    def _style_loss(features: Tensor, target: Tensor) -> Tensor:
        rows = features.flatten(2)[0]
        gram = torch.mm(rows, rows.t()) / rows.shape[1]
        return (gram - target).square().sum() / target.square().sum()


def plain_steps(
    loss: Callable[[Tensor], Tensor], start: Picture, history: int, threads: int
) -> Callable[[], float]:
    """Every call takes a step from where the last one ended and returns the loss there.

    `loss` is evaluated once a step, at a tensor (1, 3, height, width).
    """
    picture = nchw(start).requires_grad_()
    optimizer = torch.optim.LBFGS([picture], lr=1, max_iter=1, history_size=history)

    def closure() -> Tensor:
        optimizer.zero_grad()
        found = loss(picture)
        found.backward()  # type: ignore[no-untyped-call]
        return found

    def step() -> float:
        torch.set_num_threads(threads)
        found: Tensor = optimizer.step(closure)  # type: ignore[no-untyped-call]
        return found.item()

    return step


def nchw(picture: Picture) -> Tensor:
    """A copy of (height, width, 3) as (1, 3, height, width), channel after channel in memory."""
    return torch.tensor(picture).permute(2, 0, 1)[None].contiguous()


def _shares(layers: LayerWeights) -> list[tuple[str, float]]:
    """The layers, each with its part of the sum of their weights."""
    total = sum(weight for _, weight in layers)
    return [(name, weight / total) for name, weight in layers]
