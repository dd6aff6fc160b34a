from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.moments import gram_styles
from tilefarm.solve.contract import LevelTargets, Picture, SolverSettings, Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import TileObjective

Settings = Callable[..., SolverSettings]
STYLE = (("relu1_1", 3.0), ("relu2_1", 1.0), ("relu1_2", 0.0))
CONTENT = (("relu2_2", 2.0), ("relu3_1", 0.0))


@pytest.fixture
def network(random_weights: Callable[[str], Weights]) -> FeatureNetwork:
    return FeatureNetwork("vgg19", random_weights("vgg19"), ["relu3_1"], dtype=torch.float64)


@pytest.fixture
def targets() -> LevelTargets:
    generator = np.random.default_rng(0)
    grams = {}
    for name, channels in (("relu1_1", 64), ("relu2_1", 128)):
        root = generator.random((channels, channels)).astype(np.float32)
        grams[name] = (root @ root.T / channels).astype(np.float32)
    return LevelTargets("test", gram_styles(grams), {"relu2_2": 0.8})


def batch(picture: Callable[[int, int, int], Picture], *seeds: int) -> Tensor:
    pictures = np.stack([picture(20, 18, seed) for seed in seeds])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).double().contiguous()


def test_the_total_is_the_weighted_sum_of_the_documented_terms(
    network: FeatureNetwork,
    targets: LevelTargets,
    settings: Settings,
    picture: Callable[[int, int, int], Picture],
) -> None:
    chosen = settings(
        style_layers=STYLE, content_layers=CONTENT, style_weight=0.7, content_weight=2.0, tv_weight=3.0
    )
    content, images = batch(picture, 1, 2), batch(picture, 3, 4)
    losses = TileObjective(network, chosen, targets, content).losses(images)
    f = {name: v.numpy() for name, v in network.features(images, ["relu1_1", "relu2_1", "relu2_2"]).items()}
    p = network.features(content, ["relu2_2"])["relu2_2"].numpy()
    for tile in range(2):
        style = 0.0
        for name, weight in (("relu1_1", 3.0), ("relu2_1", 1.0)):
            rows = f[name][tile].reshape(len(f[name][tile]), -1)
            a = targets.styles[name].products[0].astype(np.float64)
            style += weight * ((rows @ rows.T / rows.shape[1] - a) ** 2).sum() / (a**2).sum() / 4.0
        close = np.mean((f["relu2_2"][tile] - p[tile]) ** 2) / 0.8
        pixels = images[tile].numpy()
        tv = np.mean(np.diff(pixels, axis=1) ** 2) + np.mean(np.diff(pixels, axis=2) ** 2)
        found = losses.of_tile(tile)
        assert found.style == pytest.approx(style)
        assert found.content == pytest.approx(close)
        assert found.tv == pytest.approx(tv)
        assert found.total == pytest.approx(1000 * (0.7 * style + 2.0 * 0.05 * close + 3.0 * 0.05 * tv))


def test_the_gradient_is_that_of_finite_differences(
    network: FeatureNetwork,
    targets: LevelTargets,
    settings: Settings,
    picture: Callable[[int, int, int], Picture],
) -> None:
    chosen = settings(style_layers=STYLE, content_layers=CONTENT, tv_weight=1.0)
    objective = TileObjective(network, chosen, targets, batch(picture, 1, 2))
    images = batch(picture, 3, 4)
    losses, gradient = objective.evaluate(images)
    torch.testing.assert_close(objective.losses(images).total, losses.total)
    assert not losses.total.requires_grad
    direction = torch.randn(images.shape, dtype=images.dtype, generator=torch.Generator().manual_seed(0))
    step = 1e-6 * direction
    difference = objective.losses(images + step).total - objective.losses(images - step).total
    slope = (gradient * direction).flatten(1).sum(1) * 2e-6
    torch.testing.assert_close(difference, slope, rtol=1e-4, atol=0)


class Spy(FeatureNetwork):
    """Remembers which layers were asked for."""

    asked: list[set[str]]

    def features(self, picture: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        self.asked = [*getattr(self, "asked", []), set(layers)]
        return super().features(picture, layers)


def test_what_has_weight_zero_is_not_computed(
    random_weights: Callable[[str], Weights],
    targets: LevelTargets,
    settings: Settings,
    picture: Callable[[int, int, int], Picture],
) -> None:
    network = Spy("vgg19", random_weights("vgg19"), ["relu3_1"], dtype=torch.float64)
    content = batch(picture, 1)
    chosen = settings(style_layers=STYLE, content_layers=CONTENT, content_weight=0.0)
    losses, gradient = TileObjective(network, chosen, targets, content).evaluate(batch(picture, 2))
    assert network.asked == [set(), {"relu1_1", "relu2_1"}]
    assert float(losses.content[0]) == 0.0
    assert bool((gradient != 0).any())
    nothing = settings(style_layers=STYLE, content_layers=CONTENT, content_weight=0.0, style_weight=0.0)
    losses, gradient = TileObjective(network, nothing, targets, content).evaluate(batch(picture, 2))
    assert losses.total.tolist() == [0.0]
    assert not bool(gradient.any())


def test_content_without_features_gives_a_finite_loss(
    network: FeatureNetwork, settings: Settings, picture: Callable[[int, int, int], Picture]
) -> None:
    chosen = settings(style_layers=(), content_layers=CONTENT, style_weight=0.0)
    empty = LevelTargets("test", {}, {"relu2_2": 0.0})
    losses, gradient = TileObjective(network, chosen, empty, batch(picture, 1)).evaluate(batch(picture, 2))
    assert 0 < float(losses.total[0]) < 1e6
    assert bool(torch.isfinite(gradient).all())


def test_drift_correction_aims_at_the_style_plus_the_tiles_own_deviation(
    network: FeatureNetwork, settings: Settings, picture: Callable[[int, int, int], Picture]
) -> None:
    """The aim is A + G_t - G, measured in units of A; worked out here with numpy."""
    chosen = settings(style_layers=(("relu2_1", 1.0),), content_weight=0.0)

    def grams(pictures: Tensor) -> NDArray[np.float64]:
        rows = network.features(pictures, ["relu2_1"])["relu2_1"].flatten(2).numpy()
        return np.asarray(rows @ rows.transpose(0, 2, 1) / rows.shape[2])

    start, images = batch(picture, 1, 2), batch(picture, 3, 4)
    style, whole = grams(batch(picture, 5))[0], grams(batch(picture, 6))[0]
    targets = LevelTargets(
        "drift",
        gram_styles({"relu2_1": style.astype(np.float32)}),
        {},
        pictures=gram_styles({"relu2_1": whole.astype(np.float32)}),
    )
    objective = TileObjective(network, chosen, targets, start, start)
    aims = style + grams(start) - whole
    wanted = np.square(grams(images) - aims).sum(axis=(1, 2)) / np.square(style).sum()
    np.testing.assert_allclose(objective.losses(images).style.numpy(), wanted, rtol=1e-5)
    with pytest.raises(ValueError, match="starting images"):
        TileObjective(network, chosen, targets, start)
