"""The exact method's pieces against an untiled evaluation that is written here from the formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tilefarm.geometry import Box, Size
from tilefarm.plan.halo import Piece, ReceptiveField, partition, receptive_field
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import (
    LevelTargets,
    MissingState,
    PieceGradient,
    PieceSums,
    PieceTask,
    SolverSettings,
    Weights,
)
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.pieces import PieceSolver
from tilefarm.solve.whole import WholeSums, derivatives, whole_losses
from tilefarm.spec.networks import Convolution, deepest_layer, stages_to

Picture = NDArray[np.float32]

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


def smooth_picture(width: int, height: int, seed: int) -> Picture:
    """Something between noise and a photograph."""
    generator = np.random.default_rng(seed)
    noise = torch.from_numpy(generator.random((1, 3, 9, 9), dtype=np.float32))
    smooth = F.interpolate(noise, (height, width), mode="bicubic", align_corners=False)
    grain = torch.from_numpy(generator.normal(0, 0.05, (1, 3, height, width)).astype(np.float32))
    return (smooth + grain)[0].permute(1, 2, 0).contiguous().numpy()


def untiled(
    settings: SolverSettings, weights: Weights, targets: LevelTargets, image: Picture, content: Picture
) -> tuple[float, Picture]:
    """Loss and gradient of the whole picture in one autograd graph, float32, from the formulas.

    Channels-last like the network: other layouts take other convolution kernels, whose rounding turns
    near-ties of the max pooling around. Two untiled evaluations then differ by 1e-3 already.
    """
    layers = {name for name, _ in (*settings.content_layers, *settings.style_layers)}

    def features(picture: torch.Tensor) -> dict[str, torch.Tensor]:
        mean = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
        x = (picture.flip(1) * 255 - mean).contiguous(memory_format=torch.channels_last)
        found = {}
        for stage in stages_to(settings.network, deepest_layer(settings.network, layers)):
            if isinstance(stage, Convolution):
                weight, bias = (
                    torch.from_numpy(weights.arrays[f"{stage.name}.{k}"]) for k in ("weight", "bias")
                )
                x = F.relu(F.conv2d(x, weight.contiguous(memory_format=torch.channels_last), bias, padding=1))
                found[stage.output] = x
            else:
                x = F.max_pool2d(x, 2)
        return found

    def tensor(picture: Picture) -> torch.Tensor:
        return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].contiguous()

    x = tensor(image).requires_grad_()
    found = features(x)
    with torch.no_grad():
        wanted = features(tensor(content))
    style = torch.zeros((), dtype=torch.float64)
    for name, weight in settings.style_layers:
        rows = found[name].flatten(2)[0]
        target = torch.from_numpy(targets.grams[name]).double()
        gram = (rows @ rows.T).double() / rows.shape[1]
        style = style + weight * ((gram - target) ** 2).sum() / (target**2).sum()
    style = style / sum(weight for _, weight in settings.style_layers)
    ((name, _),) = settings.content_layers
    error = ((found[name] - wanted[name]) ** 2).double().mean() / targets.content_mean_squares[name]
    total = 1000 * (settings.style_weight * style + settings.content_weight * 0.05 * error)
    (gradient,) = torch.autograd.grad(total, x)
    return float(total.detach()), gradient[0].permute(1, 2, 0).numpy()


def tiled(
    network: FeatureNetwork,
    settings: SolverSettings,
    targets: LevelTargets,
    image: Picture,
    content: Picture,
    pieces: list[Piece],
    graphs: int = 0,
) -> tuple[float, Picture]:
    """Loss and gradient of the whole picture by the two passes."""
    solver = PieceSolver(network, settings, graphs, contents=100)

    def cut(picture: Picture, box: Box) -> Picture:
        return picture[box.top : box.bottom, box.left : box.right]

    sums = WholeSums()
    held = {}
    for index, piece in enumerate(pieces):
        task = PieceTask(index, "level", piece.core_in_crop, cut(image, piece.crop), cut(content, piece.crop))
        part = solver.statistics(task)
        assert isinstance(part, PieceSums)
        held[index] = part.holds_graph
        sums.add(part)
    assert sum(held.values()) == min(graphs, len(pieces))
    slopes = derivatives(settings, targets, sums)
    gradient = np.zeros_like(image)
    for index, piece in enumerate(pieces):
        crop = None if held[index] else cut(image, piece.crop)
        part2 = solver.gradient(PieceTask(index, "level", piece.core_in_crop, crop, None), slopes)
        assert isinstance(part2, PieceGradient)
        cut(gradient, piece.crop)[...] += part2.gradient
    return whole_losses(settings, targets, sums, 0.0).total, gradient


def targets_of(network: FeatureNetwork, settings: SolverSettings, style: Picture) -> LevelTargets:
    picture = torch.from_numpy(style).permute(2, 0, 1)[None]
    names = [name for name, _ in settings.style_layers]
    found = network.features(picture, names)
    grams = {}
    for name in names:
        rows = found[name].flatten(2)[0]
        grams[name] = (rows @ rows.T / rows.shape[1]).numpy()
    return LevelTargets("test", grams, {name: 0.7 for name, _ in settings.content_layers})


def relative_error(found: Picture, wanted: Picture) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


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
    """With the deepest layer alone, so that shallow layers' larger gradients do not hide the difference."""
    settings = replace(SETTINGS, style_layers=(("relu5_1", 1.0),), content_weight=0.0)
    network = make_network(settings, bundled, "cpu")
    image, content = smooth_picture(320, 80, 1), smooth_picture(320, 80, 2)
    targets = targets_of(network, settings, smooth_picture(96, 80, 3))
    _, wanted = untiled(settings, bundled, targets, image, content)
    field = receptive_field("vgg19", "relu5_1")
    errors = []
    for halo in (field.halo, field.halo - field.stride):
        pieces = list(partition(Size(320, 80), 96, ReceptiveField(16, halo)))
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
