"""Luminance-only optimisation: pictures that are grey stay so, and their gradient is the projected one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.moments import gram_slopes, gram_styles
from tilefarm.geometry import Box
from tilefarm.solve.coding import decoded
from tilefarm.solve.contract import LevelTargets, Picture, SolverSettings, Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import TileObjective
from tilefarm.solve.pieces import PieceSolver
from tilefarm.solve.tasks import PieceGradient, PieceTask, TileTask
from tilefarm.solve.tile import solve_tiles

MakePicture = Callable[[int, int, int], Picture]
SHORT = {"content_layers": (("relu2_1", 1.0),), "style_layers": (("relu1_1", 1.0), ("relu2_1", 1.0))}


def grey(picture: Picture) -> Picture:
    return np.repeat(picture[..., :1], 3, axis=2)


def tensor(picture: Picture) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()


@pytest.fixture
def colour(settings: Callable[..., SolverSettings]) -> SolverSettings:
    return settings(**SHORT, tv_weight=1.0)


@pytest.fixture
def network(random_weights: Callable[[str], Weights]) -> FeatureNetwork:
    return FeatureNetwork("vgg19", random_weights("vgg19"), ["relu1_1", "relu2_1"])


@pytest.fixture
def targets() -> LevelTargets:
    grams = {"relu1_1": np.eye(64, dtype=np.float32), "relu2_1": np.eye(128, dtype=np.float32)}
    return LevelTargets("test", gram_styles(grams), {"relu2_1": 1.0})


def test_the_gradient_is_the_mean_over_the_channels(
    network: FeatureNetwork, colour: SolverSettings, targets: LevelTargets, picture: MakePicture
) -> None:
    image, content = (tensor(grey(picture(32, 48, seed))) for seed in (1, 2))
    plain = TileObjective(network, colour, targets, content).evaluate(image)
    projected = TileObjective(network, replace(colour, grey=True), targets, content).evaluate(image)
    assert float(plain[0].total) == float(projected[0].total)
    wanted = plain[1].mean(dim=1, keepdim=True).expand_as(plain[1])
    torch.testing.assert_close(projected[1], wanted, rtol=1e-6, atol=0)
    assert (plain[1].std(dim=1) > 0.01 * plain[1].abs().max()).any()  # the projection changes something


def test_the_gradient_is_that_of_the_brightness(
    network: FeatureNetwork, colour: SolverSettings, targets: LevelTargets, picture: MakePicture
) -> None:
    """A small step of the brightness changes the loss by the step times all three channels' gradients."""
    image, content = (tensor(grey(picture(32, 48, seed))) for seed in (1, 2))
    objective = TileObjective(network, replace(colour, grey=True), targets, content)
    _, gradient = objective.evaluate(image)
    step = gradient / gradient.abs().max() * 1e-3
    up, down = (float(objective.losses(image + sign * step).total) for sign in (1, -1))
    assert (up - down) / 2 == pytest.approx(float((gradient * step).sum()), rel=0.02)


def test_a_piece_gives_the_same_projection(
    network: FeatureNetwork, colour: SolverSettings, picture: MakePicture
) -> None:
    crop, content = (grey(picture(32, 48, seed)) for seed in (1, 2))
    task = PieceTask(0, "level", Box(0, 0, 48, 32), crop, content)
    slopes = gram_slopes(
        {"relu1_1": np.eye(64, dtype=np.float32), "relu2_1": np.eye(128, dtype=np.float32)}, {"relu2_1": 2.0}
    )
    plain = PieceSolver(network, colour, 0, 0).gradient(task, slopes)
    found = PieceSolver(network, replace(colour, grey=True), 0, 0).gradient(task, slopes)
    assert isinstance(plain, PieceGradient)
    assert isinstance(found, PieceGradient)
    wanted = np.repeat(decoded(plain.gradient).mean(axis=2, keepdims=True), 3, axis=2)
    projected = decoded(found.gradient)
    np.testing.assert_allclose(projected, wanted, rtol=1e-5, atol=1e-4)
    assert (projected == projected[..., :1]).all()


@pytest.mark.parametrize("size", [(32, 48), (37, 29)])
def test_a_tile_stays_grey_to_the_bit(
    network: FeatureNetwork,
    colour: SolverSettings,
    targets: LevelTargets,
    picture: MakePicture,
    size: tuple[int, int],
) -> None:
    task = TileTask(0, grey(picture(*size, 1)), grey(picture(*size, 2)), 12)
    (solution,) = solve_tiles(network, replace(colour, grey=True), targets, [task])
    assert (solution.image == solution.image[..., :1]).all()
    assert solution.last.total < 0.9 * solution.first.total
    (other,) = solve_tiles(network, colour, targets, [task])
    assert not (other.image == other.image[..., :1]).all()
