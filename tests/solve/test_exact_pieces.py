"""The exact method's pieces against an untiled evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.exactness import relative_error, smooth_picture, targets_of, tiled, untiled
from tests.moments import gram_slopes
from tilefarm.geometry import Box, Size
from tilefarm.plan.halo import ReceptiveField, partition, receptive_field
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import SolverSettings, Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.pieces import PieceSolver
from tilefarm.solve.tasks import MissingState, PieceGradient, PieceSums, PieceTask
from tilefarm.spec.networks import deepest_layer

SETTINGS = SolverSettings(
    network="vgg19",
    pooling="max",
    precision="float32",
    content_layers=(("relu4_2", 1.0),),
    style_layers=tuple((f"relu{block}_1", 1.0) for block in range(1, 6)),
    content_weight=1.0,
    style_weight=1.0,
    tv_weight=0.0,
    history=5,
)


@pytest.fixture(scope="module")
def network(bundled: Weights) -> FeatureNetwork:
    return make_network(SETTINGS, bundled, "cpu")


@pytest.mark.parametrize(("width", "height", "core"), [(201, 117, 96), (100, 173, 112)])
def test_the_sum_over_pieces_is_the_untiled_gradient(
    network: FeatureNetwork, bundled: Weights, width: int, height: int, core: int
) -> None:
    image, content = smooth_picture(width, height, 1), smooth_picture(width, height, 2)
    targets = targets_of(network, SETTINGS, smooth_picture(96, 80, 3))
    pieces = list(partition(Size(width, height), core, receptive_field("vgg19", "relu5_1")))
    assert len(pieces) > 1
    loss, gradient = tiled(network, SETTINGS, targets, image, content, pieces)
    wanted_loss, wanted = untiled(SETTINGS, bundled, targets, image, content)
    assert loss == pytest.approx(wanted_loss, rel=1e-6)
    assert relative_error(gradient, wanted) < 5e-6


def test_only_the_whole_halo_is_exact(bundled: Weights) -> None:
    """With the deepest layer alone, which sees furthest."""
    settings = replace(SETTINGS, style_layers=(("relu5_1", 1.0),), content_weight=0.0)
    network = make_network(settings, bundled, "cpu")
    image, content = smooth_picture(320, 80, 1), smooth_picture(320, 80, 2)
    targets = targets_of(network, settings, smooth_picture(96, 80, 3))
    _, wanted = untiled(settings, bundled, targets, image, content)
    field = receptive_field("vgg19", "relu5_1")
    errors = []
    for halo in (field.halo, field.halo - field.stride):
        pieces = list(partition(Size(320, 80), 96, ReceptiveField(16, halo, halo)))
        errors.append(relative_error(tiled(network, settings, targets, image, content, pieces)[1], wanted))
    assert errors[0] < 5e-6
    assert errors[1] > 1e-4


def test_graphs_kept_between_the_passes_change_nothing(network: FeatureNetwork) -> None:
    image, content = smooth_picture(150, 100, 1), smooth_picture(150, 100, 2)
    targets = targets_of(network, SETTINGS, smooth_picture(96, 80, 3))
    pieces = list(partition(Size(150, 100), 96, receptive_field("vgg19", "relu5_1")))
    recomputed = tiled(network, SETTINGS, targets, image, content, pieces)
    kept = tiled(network, SETTINGS, targets, image, content, pieces, graphs=2)
    assert kept[0] == recomputed[0]
    np.testing.assert_array_equal(kept[1], recomputed[1])


@pytest.mark.parametrize(
    ("style", "content", "weights"),
    [
        ((("relu3_1", 2.0), ("relu1_1", 0.5)), (("relu3_1", 1.0),), (1.0, 0.0)),
        ((("relu2_1", 1.0), ("relu4_1", 3.0)), (("relu4_1", 1.0),), (0.3, 2.0)),
    ],
)
def test_other_layer_sets(
    bundled: Weights,
    style: tuple[tuple[str, float], ...],
    content: tuple[tuple[str, float], ...],
    weights: tuple[float, float],
) -> None:
    settings = replace(
        SETTINGS,
        style_layers=style,
        content_layers=content,
        style_weight=weights[0],
        content_weight=weights[1],
    )
    network = make_network(settings, bundled, "cpu")
    image, picture = smooth_picture(149, 190, 1), smooth_picture(149, 190, 2)
    targets = targets_of(network, settings, smooth_picture(96, 80, 3))
    deepest = deepest_layer("vgg19", {name for name, _ in (*style, *content)})
    pieces = list(partition(Size(149, 190), 64, receptive_field("vgg19", deepest)))
    loss, gradient = tiled(network, settings, targets, image, picture, pieces)
    wanted_loss, wanted = untiled(settings, bundled, targets, image, picture)
    assert loss == pytest.approx(wanted_loss, rel=1e-6)
    assert relative_error(gradient, wanted) < 5e-6


def test_a_worker_that_lost_its_state_says_so(network: FeatureNetwork) -> None:
    solver = PieceSolver(network, SETTINGS, 1, contents=100)
    picture = smooth_picture(64, 64, 1)
    without_content = PieceTask(3, "level", Box(0, 0, 64, 64), picture, None)
    assert solver.statistics(without_content) == MissingState(3)
    assert isinstance(solver.statistics(replace(without_content, content=picture)), PieceSums)
    assert isinstance(solver.statistics(without_content), PieceSums)
    assert solver.statistics(replace(without_content, level="next")) == MissingState(3)


def test_a_graph_of_an_earlier_evaluation_is_never_used(network: FeatureNetwork) -> None:
    """A worker may hold one whose second pass was done by another worker."""
    first, second = smooth_picture(64, 64, 1), smooth_picture(64, 64, 2)
    slopes = gram_slopes({"relu1_1": np.eye(64, dtype=np.float32)}, {"relu4_2": 1.0})
    task = PieceTask(0, "level", Box(0, 0, 64, 64), second, first, evaluation=2)
    stale, fresh = (PieceSolver(network, SETTINGS, 1, contents=1) for _ in range(2))
    stale.statistics(replace(task, crop=first, evaluation=1))
    found, wanted = (solver.gradient(task, slopes) for solver in (stale, fresh))
    assert isinstance(found, PieceGradient)
    assert isinstance(wanted, PieceGradient)
    np.testing.assert_array_equal(found.gradient, wanted.gradient)
