"""Every statistic, with and without regions: pieces beside one untiled graph written from the formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests import exactness
from tests.exactness import Picture, relative_error, smooth_picture
from tests.statistic_formulas import FORMULAS, Formula, gram
from tilefarm.geometry import Box, Size
from tilefarm.plan.halo import Piece, partition, receptive_field
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import LevelTargets, RegionMoments, SolverSettings, Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import TileObjective

STYLE = ("relu1_1", "relu2_1", "relu3_1")
STRIDES = {"relu1_1": 1, "relu2_1": 2, "relu3_1": 4}
SETTINGS = SolverSettings(
    network="vgg19",
    pooling="max",
    precision="float32",
    content_layers=(("relu2_2", 1.0),),
    style_layers=tuple((name, float(number)) for number, name in enumerate(STYLE, start=1)),
    content_weight=2.0,
    style_weight=1.0,
    tv_weight=0.0,
    history=5,
)
CONTENT_SQUARE = 20_000.0
SIZE = Size(61, 75)
REGION_WEIGHTS = (0.5, 1.5)
CASES = [*[(name, 0.0, formula) for name, formula in FORMULAS.items()], ("gram", -20.0, gram(-20.0))]


@pytest.fixture(scope="module")
def network(bundled: Weights) -> FeatureNetwork:
    return make_network(SETTINGS, bundled, "cpu")


def tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].contiguous()


def rows(features: Tensor) -> Tensor:
    return features[0].flatten(1).T.double()


def style_rows(network: FeatureNetwork, seed: int) -> dict[str, Tensor]:
    found = network.features(tensor(smooth_picture(24, 20, seed)), STYLE)
    return {name: rows(features) for name, features in found.items()}


def shares() -> Picture:
    """Two regions with a soft edge and a strip that belongs to neither, (height, width, 2)."""
    x = np.linspace(0, 1, SIZE.width, dtype=np.float32)
    pair = np.stack([np.clip(1.5 - 3 * x, 0, 1), np.clip(3 * x - 1.8, 0, 1)], axis=1)
    return np.broadcast_to(pair, (SIZE.height, SIZE.width, 2)).astype(np.float32)


def targets_of(styles: list[dict[str, Tensor]], content: float, weights: tuple[float, ...]) -> LevelTargets:
    moments = {}
    for name in STYLE:
        known = [style[name] for style in styles]
        moments[name] = RegionMoments(
            torch.stack([each.mean(0) for each in known]).float().numpy(),
            torch.stack([each.T @ each / len(each) for each in known]).float().numpy(),
        )
    return LevelTargets("test", moments, {"relu2_2": content}, weights)


def untiled(
    network: FeatureNetwork,
    formula: Formula,
    styles: list[dict[str, Tensor]],
    image: Picture,
    content: Picture,
    regions: Picture | None,
) -> tuple[float, Picture]:
    x = tensor(image).requires_grad_()
    found = network.features(x, [*STYLE, "relu2_2"])
    with torch.no_grad():
        wanted = network.features(tensor(content), ["relu2_2"])["relu2_2"]
    error = torch.zeros((), dtype=torch.float64)
    weights = (1.0,) if regions is None else REGION_WEIGHTS
    for name, layer_weight in SETTINGS.style_layers:
        height, width = found[name].shape[2:]
        share = torch.ones(1, 1, height, width)
        if regions is not None:
            share = F.avg_pool2d(tensor(regions), STRIDES[name])
        for region, weight in enumerate(weights):
            part = share[0, region].flatten().double()
            term = formula(rows(found[name]), part / part.sum(), styles[region][name])
            error = error + layer_weight / 6 * weight * part.mean() * term
    close = (found["relu2_2"].double() - wanted.double()).square().mean() / CONTENT_SQUARE
    total = 1000 * (error + 2.0 * 0.05 * close)
    (gradient,) = torch.autograd.grad(total, x)
    return float(total.detach()), gradient[0].permute(1, 2, 0).numpy()


def tiled(
    network: FeatureNetwork,
    settings: SolverSettings,
    targets: LevelTargets,
    image: Picture,
    content: Picture,
    regions: Picture | None,
    graphs: int,
) -> tuple[float, Picture]:
    """Only some of the pieces' content and regions stay with the solver; the others' are sent twice."""
    cut = list(partition(SIZE, 32, receptive_field("vgg19", "relu3_1")))
    return exactness.tiled(
        network, settings, targets, image, content, cut, graphs, regions=regions, contents=3
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("name", "shift", "formula"), CASES)
def test_the_sum_over_pieces_is_the_untiled_gradient(
    network: FeatureNetwork, name: str, shift: float, formula: Formula, masked: bool
) -> None:
    settings = replace(
        SETTINGS, statistics=((name, 1.0),), activation_shift=shift, regions=2 if masked else 1
    )
    image, content = (smooth_picture(SIZE.width, SIZE.height, seed) for seed in (1, 2))
    styles = [style_rows(network, seed) for seed in (3, 4)]
    regions = shares() if masked else None
    targets = targets_of(
        styles if masked else styles[:1], CONTENT_SQUARE, REGION_WEIGHTS if masked else (1.0,)
    )
    loss, gradient = tiled(network, settings, targets, image, content, regions, graphs=2)
    wanted_loss, wanted = untiled(network, formula, styles, image, content, regions)
    # Where roots are taken, the small numbers that keep their slopes finite make for a difference.
    rooted = {"std": 1e-4, "remap": 5e-4, "wasserstein": 2e-3}
    assert loss == pytest.approx(wanted_loss, rel=rooted.get(name, 1e-7))
    assert relative_error(gradient, wanted) < rooted.get(name, 2e-6)


def test_a_region_with_fewer_positions_than_channels_is_exact(network: FeatureNetwork) -> None:
    """Its covariances have eigenvalues of 0, whose rounding the slopes of `wasserstein` magnify."""
    settings = replace(SETTINGS, statistics=(("wasserstein", 1.0),), regions=2)
    image, content = (smooth_picture(SIZE.width, SIZE.height, seed) for seed in (1, 2))
    targets = targets_of([style_rows(network, seed) for seed in (3, 4)], CONTENT_SQUARE, REGION_WEIGHTS)
    x = np.linspace(0, 1, SIZE.width, dtype=np.float32)
    small = np.clip(np.stack([0.25 - x, 0.75 + 0 * x], axis=1) * 1.3, 0, 1)  # 5 of 18 positions across
    regions = np.broadcast_to(small, (SIZE.height, SIZE.width, 2)).astype(np.float32)
    whole = [Piece(Box.of(SIZE), Box.of(SIZE))]

    given = (network, settings, targets, image, content)
    _, wanted = exactness.tiled(*given, whole, regions=regions)
    _, found = tiled(*given, regions, graphs=0)
    assert relative_error(found, wanted) < 2e-6


@pytest.mark.parametrize("masked", [False, True])
def test_normalized_derivatives_do_not_depend_on_the_pieces(network: FeatureNetwork, masked: bool) -> None:
    settings = replace(SETTINGS, normalize_gradients=True, regions=2 if masked else 1)
    image, content = (smooth_picture(SIZE.width, SIZE.height, seed) for seed in (1, 2))
    styles = [style_rows(network, seed) for seed in (3, 4)]
    regions = shares() if masked else None
    targets = targets_of(
        styles if masked else styles[:1], CONTENT_SQUARE, REGION_WEIGHTS if masked else (1.0,)
    )
    loss, gradient = tiled(network, settings, targets, image, content, regions, graphs=0)
    plain, _ = tiled(
        network, replace(settings, normalize_gradients=False), targets, image, content, regions, 0
    )
    assert loss == pytest.approx(plain)
    x = tensor(image).requires_grad_()
    found = network.features(x, [*STYLE, "relu2_2"])
    with torch.no_grad():
        wanted = network.features(tensor(content), ["relu2_2"])["relu2_2"]
    total = torch.zeros((), dtype=torch.float64)
    for name, weight in [*SETTINGS.style_layers, ("relu2_2", 0.0)]:
        height, width = found[name].shape[2:]
        if name == "relu2_2":
            term, force = (found[name] - wanted).square().double().sum(), 2.0 * 0.05
            (by_features,) = torch.autograd.grad(term, found[name], retain_graph=True)
            length = by_features.double().norm()
        else:
            share = torch.ones(1, 1, height, width)
            if regions is not None:
                share = F.avg_pool2d(tensor(regions), STRIDES[name])
            term, force = torch.zeros((), dtype=torch.float64), weight / 6
            square = torch.zeros((), dtype=torch.float64)
            for region, style in enumerate(styles if masked else styles[:1]):
                part = share[0, region].flatten().double()
                factor = (REGION_WEIGHTS if masked else (1.0,))[region] * part.mean()
                error = factor * FORMULAS["gram"](rows(found[name]), part / part.sum(), style[name])
                (by_features,) = torch.autograd.grad(error, found[name], retain_graph=True)
                # Per position the slope is w (2 D f + d); its length counts each position w times.
                inside = part > 0
                square = square + (rows(by_features)[inside].square().sum(1) / part[inside]).sum()
                term = term + error
            length = square.sqrt()
        total = total + 1000 * force * term / length.detach()
    (expected,) = torch.autograd.grad(total, x)
    assert relative_error(gradient, expected[0].permute(1, 2, 0).numpy()) < 2e-5


@pytest.mark.parametrize("far", [0.0, 1e-6, 1e-3])
def test_normalized_content_is_finite_where_the_picture_is_the_content(
    network: FeatureNetwork, far: float
) -> None:
    settings = replace(SETTINGS, normalize_gradients=True)
    content = smooth_picture(SIZE.width, SIZE.height, 2)
    image = (content + far * smooth_picture(SIZE.width, SIZE.height, 5)).astype(np.float32)
    targets = targets_of([style_rows(network, 3)], CONTENT_SQUARE, (1.0,))
    _, gradient = tiled(network, settings, targets, image, content, None, graphs=0)
    objective = TileObjective(network, settings, targets, tensor(content))
    _, wanted = objective.evaluate(tensor(image))
    assert np.isfinite(gradient).all()
    assert relative_error(gradient, wanted[0].permute(1, 2, 0).numpy()) < 1e-4
    still = replace(settings, style_weight=0.0)
    _, gradient = tiled(network, still, targets, image, content, None, graphs=0)
    assert bool(gradient.any()) == (far > 0)


def test_normalized_derivatives_at_the_content_are_those_of_the_style(network: FeatureNetwork) -> None:
    settings = replace(SETTINGS, normalize_gradients=True)
    image = smooth_picture(SIZE.width, SIZE.height, 1)
    targets = targets_of([style_rows(network, 3)], CONTENT_SQUARE, (1.0,))
    _, gradient = tiled(network, settings, targets, image, image, None, graphs=0)
    alone = replace(settings, content_layers=(), content_weight=0.0)
    _, expected = tiled(network, alone, targets, image, image, None, graphs=0)
    assert np.isfinite(gradient).all()
    assert relative_error(gradient, expected) < 1e-6
