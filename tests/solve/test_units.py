"""Absolute and averaged units: pieces, and a tile, beside one untiled graph written from the formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.exactness import Picture, relative_error, smooth_picture, targets_of, tiled
from tilefarm.geometry import Size
from tilefarm.plan.halo import partition, receptive_field
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import LevelTargets, Losses, SolverSettings, Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import TileObjective
from tilefarm.spec.objective import Units

CHANNELS = {"relu1_1": 64, "relu2_1": 128, "relu3_1": 256}
WEIGHTS = {"relu1_1": 0.5, "relu2_1": 2.0, "relu3_1": 3.0}
SETTINGS = SolverSettings(
    network="vgg19",
    pooling="max",
    precision="float32",
    content_layers=(("relu2_2", 3.0),),
    style_layers=tuple(WEIGHTS.items()),
    content_weight=5.0,
    style_weight=0.25,
    tv_weight=0.0,
    history=5,
    units="absolute",
)
SIZE = Size(61, 75)


@pytest.fixture(scope="module")
def network(bundled: Weights) -> FeatureNetwork:
    return make_network(SETTINGS, bundled, "cpu")


def tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].contiguous()


def gram(found: Tensor, style: Tensor) -> Tensor:
    return (found.T @ found / len(found) - style.T @ style / len(style)).square().sum()


def mean(found: Tensor, style: Tensor) -> Tensor:
    return (found.mean(0) - style.mean(0)).square().sum()


def std(found: Tensor, style: Tensor) -> Tensor:
    variance, wanted = found.var(0, correction=0), style.var(0, correction=0)
    smallest = 1e-6 * wanted.mean()  # the root of a constant has no slope
    return ((variance + smallest).sqrt() - (wanted + smallest).sqrt()).square().sum()


def remap(found: Tensor, style: Tensor) -> Tensor:
    return mean(found, style) + std(found, style)


def wasserstein(found: Tensor, style: Tensor) -> Tensor:
    x, y = ((rows - rows.mean(0)) / len(rows) ** 0.5 for rows in (found, style))
    shared = torch.linalg.matrix_norm(x @ y.T, "nuc")
    error: Tensor = mean(found, style) + x.square().sum() + y.square().sum() - 2 * shared
    return error


Formula = Callable[[Tensor, Tensor], Tensor]
FORMULAS: dict[str, Formula] = {
    "gram": gram,
    "mean": mean,
    "std": std,
    "remap": remap,
    "wasserstein": wasserstein,
}


def untiled(
    network: FeatureNetwork, settings: SolverSettings, image: Picture, content: Picture, style: Picture
) -> tuple[float, Picture]:
    """style_weight * sum(w_l * sum(s * error)) + content_weight * sum(w_l * mean((F - P)^2))."""
    x = tensor(image).requires_grad_()
    found = network.features(x, [*WEIGHTS, "relu2_2"])
    with torch.no_grad():
        wanted = network.features(tensor(content), ["relu2_2"])["relu2_2"]
        painted = network.features(tensor(style), list(WEIGHTS))
    total = 5.0 * 3.0 * (found["relu2_2"].double() - wanted.double()).square().mean()
    for layer, layer_weight in WEIGHTS.items():
        rows, aim = (features[layer][0].flatten(1).T.double() for features in (found, painted))
        for name, weight in settings.statistics:
            error = weight * FORMULAS[name](rows, aim)
            if settings.units == "averaged":
                error = error / CHANNELS[layer] ** (4 if name == "gram" else 1)
            total = total + 0.25 * layer_weight * error
    (gradient,) = torch.autograd.grad(total, x)
    return float(total.detach()), gradient[0].permute(1, 2, 0).numpy()


def as_one_tile(
    network: FeatureNetwork, settings: SolverSettings, targets: LevelTargets, image: Picture, content: Picture
) -> tuple[Losses, Picture]:
    objective = TileObjective(network, settings, targets, tensor(content))
    losses, gradient = objective.evaluate(tensor(image))
    return losses.of_tile(0), gradient[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("units", ["absolute", "averaged"])
@pytest.mark.parametrize(
    "statistics",
    [*[((name, 0.7),) for name in FORMULAS], (("gram", 2.0), ("mean", 1e6), ("std", 3e5))],
    ids=[*FORMULAS, "three"],
)
def test_both_methods_give_the_plain_sums(
    network: FeatureNetwork, units: Units, statistics: tuple[tuple[str, float], ...]
) -> None:
    settings = replace(SETTINGS, units=units, statistics=statistics)
    image, content = (smooth_picture(SIZE.width, SIZE.height, seed) for seed in (1, 2))
    style = smooth_picture(24, 20, 3)
    targets = targets_of(network, SETTINGS, style)
    wanted_loss, wanted = untiled(network, settings, image, content, style)
    pieces = list(partition(SIZE, 32, receptive_field("vgg19", "relu3_1")))
    assert len(pieces) > 3
    loss, gradient = tiled(network, settings, targets, image, content, pieces, graphs=2)
    losses, of_tile = as_one_tile(network, settings, targets, image, content)
    # Roots lose digits, and what keeps those of covariances apart makes for a difference.
    rooted = {"std": 2e-5, "remap": 2e-5, "wasserstein": 2e-3}
    tolerance = max(rooted.get(name, 0) for name, _ in statistics) or 2e-6
    assert loss == pytest.approx(wanted_loss, rel=tolerance)
    assert losses.total == pytest.approx(wanted_loss, rel=max(tolerance, 1e-5))
    assert relative_error(gradient, wanted) < tolerance
    assert relative_error(of_tile, wanted) < max(tolerance, 2e-5)


def test_terms_stand_in_the_total_as_they_are() -> None:
    losses = Losses(total=10.0, content=1.5, style=8.0, tv=0.25)
    settings = replace(SETTINGS, tv_weight=2.0)
    assert losses.weighted(settings) == Losses(total=10.0, content=7.5, style=2.0, tv=0.5)
    relative = losses.weighted(replace(settings, units="relative"))
    assert relative == Losses(total=10.0, content=375.0, style=2000.0, tv=25.0)


def test_a_blank_style_and_content_divide_nothing_by_zero(network: FeatureNetwork) -> None:
    settings = replace(SETTINGS, statistics=tuple((name, 1.0) for name in FORMULAS))
    image = smooth_picture(SIZE.width, SIZE.height, 1)
    blank = np.zeros_like(image)
    targets = targets_of(network, SETTINGS, blank)
    losses, gradient = as_one_tile(network, settings, targets, blank, blank)
    away, slope = as_one_tile(network, settings, targets, image, blank)
    assert abs(losses.total) < 1e-5 * away.total
    assert np.isfinite(gradient).all()
    assert np.isfinite(slope).all()


def test_a_tile_takes_the_total_variation_of_the_exponent(network: FeatureNetwork) -> None:
    image = smooth_picture(SIZE.width, SIZE.height, 1)
    targets = targets_of(network, SETTINGS, image)
    settings = replace(SETTINGS, tv_exponent=1.25, tv_weight=3.0, style_weight=0.0)
    losses, _ = as_one_tile(network, settings, targets, image, image)
    powers = [(np.abs(np.diff(image, axis=axis)) ** 1.25).mean() for axis in (0, 1)]
    assert losses.tv == pytest.approx(sum(powers), rel=1e-5)
    assert losses.total == pytest.approx(3 * sum(powers), rel=1e-5)
