"""The published block method against one untiled graph, and how many graphs it is compared with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scripts.benchmarks.block_method import affordable_graphs, relative_difference
from scripts.benchmarks.blocks import BlockEvaluation, BlockMethod, cut_blocks
from scripts.benchmarks.workload import default_settings, load_default_weights
from tests.moments import gram_styles
from tilefarm.geometry import Box, Size
from tilefarm.plan.halo import Piece
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import LevelTargets, Picture, SolverSettings, Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.spec.networks import channels_of

SHALLOW = replace(
    default_settings("float32"),
    style_layers=(("relu1_1", 1.0), ("relu3_1", 2.0)),
    content_layers=(("relu2_2", 1.0),),
)
"""relu3_1 sees 10 pixels beyond its cell: the block method needs margins of 20."""
DEFAULT = default_settings("float32")
"""relu5_1 sees 78 pixels beyond its cell on one side: 156 are needed."""


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_default_weights()


def picture(width: int, height: int, seed: int) -> Picture:
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width][..., None]
    waves = np.sin(x / 9 + y / 23 + generator.uniform(0, 6, 3))
    made: Picture = (0.5 + 0.3 * waves + generator.normal(0, 0.05, (height, width, 3))).astype(np.float32)
    return made


def targets(settings: SolverSettings) -> LevelTargets:
    generator = np.random.default_rng(4)
    grams = {}
    for name, _ in settings.style_layers:
        root = generator.random((channels_of("vgg19")[name], 40), dtype=np.float32) * 20
        grams[name] = root @ root.T
    return LevelTargets("test", gram_styles(grams), {name: 5e3 for name, _ in settings.content_layers})


def untiled(
    network: FeatureNetwork, settings: SolverSettings, aims: LevelTargets, image: Picture, content: Picture
) -> BlockEvaluation:
    """The objective as its formulas say, in one graph that autograd differentiates as a whole."""

    def tensor(pixels: Picture) -> torch.Tensor:
        return torch.from_numpy(pixels).permute(2, 0, 1)[None]

    x = tensor(image).clone().requires_grad_()
    names = {name for name, _ in (*settings.style_layers, *settings.content_layers)}
    found, wanted = network.features(x, names), network.features(tensor(content), names)
    total = torch.zeros((), dtype=torch.float64)
    weight = sum(weight for _, weight in settings.style_layers)
    for name, share in settings.style_layers:
        rows = found[name].flatten(2)[0]
        aim = torch.from_numpy(aims.styles[name].products[0]).double()
        gram = (rows @ rows.T).double() / rows.shape[1]
        total = total + 1000 * share / weight * ((gram - aim) ** 2).sum() / (aim**2).sum()
    ((name, _),) = settings.content_layers
    error = ((found[name] - wanted[name].detach()) ** 2).double().mean() / aims.content_mean_squares[name]
    total = total + 1000 * 0.05 * error
    (gradient,) = torch.autograd.grad(total, x)
    return BlockEvaluation(float(total.detach()), gradient[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("settings", "size", "block", "margin"),
    [
        (SHALLOW, Size(101, 67), 32, 24),
        (DEFAULT, Size(336, 64), 112, 160),
    ],
)
def test_the_block_methods_gradient_is_the_untiled_one(
    weights: Weights, settings: SolverSettings, size: Size, block: int, margin: int
) -> None:
    assert any(piece.crop != Box.of(size) for piece in cut_blocks(size, block, margin))
    network = make_network(settings, weights, "cpu")
    image, content = (picture(size.width, size.height, seed) for seed in (1, 2))
    method = BlockMethod(network, settings, targets(settings), content, block, margin)
    found = method.evaluate(image)
    wanted = untiled(network, settings, targets(settings), image, content)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-6)
    assert relative_difference(found.gradient, wanted.gradient) < 1e-5


def test_a_margin_of_one_halo_is_not_enough_for_the_block_method(weights: Weights) -> None:
    network = make_network(SHALLOW, weights, "cpu")
    image, content = picture(101, 67, 1), picture(101, 67, 2)
    found = BlockMethod(network, SHALLOW, targets(SHALLOW), content, 32, 12).evaluate(image)
    wanted = untiled(network, SHALLOW, targets(SHALLOW), image, content)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-6)  # the statistics are right already
    assert relative_difference(found.gradient, wanted.gradient) > 1e-4


def test_blocks_cover_a_picture_once_and_grow_inwards_only() -> None:
    pieces = cut_blocks(Size(160, 128), 64, 96)
    covered = np.zeros((128, 160), dtype=int)
    for piece in pieces:
        covered[piece.core.top : piece.core.bottom, piece.core.left : piece.core.right] += 1
    assert (covered == 1).all()
    assert pieces[0] == Piece(Box(0, 0, 64, 64), Box(0, 0, 160, 128))
    assert pieces[-1] == Piece(Box(128, 64, 160, 128), Box(32, 0, 160, 128))


def test_a_total_variation_that_would_be_left_out_is_refused(weights: Weights) -> None:
    network = make_network(SHALLOW, weights, "cpu")
    with pytest.raises(ValueError, match=r"tv_weight of 0, got 0\.5"):
        BlockMethod(network, replace(SHALLOW, tv_weight=0.5), targets(SHALLOW), picture(32, 32, 1), 32, 16)


def test_graphs_are_kept_as_far_as_the_budget_goes() -> None:
    """830 bytes a pixel, by hand.

    Convolutions whose features count or that no pooling follows, at 4 bytes: 256, 128, 192, 96 and 8 by
    block; poolings, with one byte of position for each value: 80, 40, 20, 10.
    """
    pieces = [Piece(Box(0, 0, 100, 100), Box(0, 0, 100, 100))] * 5
    assert affordable_graphs(pieces, 0) == 0
    assert affordable_graphs(pieces, 3 * 100 * 100 * 830) == 3
    assert affordable_graphs(pieces, 3 * 100 * 100 * 830 - 1) == 2
    assert affordable_graphs(pieces, 10**12) == 5
