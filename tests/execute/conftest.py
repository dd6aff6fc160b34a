"""Tiny tiles, and what the solver makes of them without any executor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tilefarm.execute.protocol import Batch
from tilefarm.geometry import Box
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import LevelTargets, Picture, SolverSettings, Weights
from tilefarm.solve.measure import measure
from tilefarm.solve.tasks import Measurement, MeasureTask, TileSolution, TileTask
from tilefarm.solve.tile import solve_tiles
from tilefarm.solve.weights import load_weights
from tilefarm.targets import picture_moments

SIDE = 64
ITERATIONS = 2
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1")
SETTINGS = SolverSettings(
    network="vgg19",
    pooling="max",
    precision="float32",
    content_layers=(("relu2_2", 1.0),),
    style_layers=tuple((layer, 1.0) for layer in STYLE_LAYERS),
    content_weight=1.0,
    style_weight=1.0,
    tv_weight=0.5,
    history=5,
)


def noise(seed: int) -> Picture:
    picture: Picture = np.random.default_rng(seed).random((SIDE, SIDE, 3), dtype=np.float32)
    return picture


def tile(index: int, iterations: int = ITERATIONS) -> TileTask:
    return TileTask(index, noise(2 * index), noise(2 * index + 1), iterations)


@dataclass(frozen=True)
class Work:
    """Some work and its results, from the solver itself."""

    weights: Weights
    settings: SolverSettings
    targets: LevelTargets
    batches: tuple[Batch, ...]
    solutions: dict[int, TileSolution]
    """By tile."""
    pieces: tuple[MeasureTask, ...]
    measurements: dict[int, Measurement]


@pytest.fixture(scope="session")
def work() -> Work:
    """Eight tiles in seven batches, the last of two tiles, and four pieces."""
    weights = load_weights("vgg19", "bundled")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network = make_network(SETTINGS, weights, "cpu")
    kinds = ("style", "content", "style", "content")
    pieces = tuple(
        MeasureTask(index, noise(100 + index), Box(16, 0, SIDE, 48), kind)  # type: ignore[arg-type]
        for index, kind in enumerate(kinds)
    )
    measurements = {piece.index: measure(network, SETTINGS, piece) for piece in pieces}
    style, content = measurements[0], measurements[1]
    targets = LevelTargets(
        key="test",
        styles=picture_moments(style.styles),
        content_mean_squares={"relu2_2": content.squares["relu2_2"] / (content.positions["relu2_2"] * 128)},
    )
    batches = (
        *(Batch(index, (tile(index),)) for index in range(6)),
        Batch(6, (tile(6), tile(7))),
    )
    solutions = {
        solution.index: solution
        for batch in batches
        for solution in solve_tiles(network, SETTINGS, targets, batch.tasks)
    }
    torch.set_num_threads(threads)
    return Work(weights, SETTINGS, targets, batches, solutions, pieces, measurements)
