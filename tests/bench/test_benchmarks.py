"""The benchmark's arithmetic, the block method against one untiled graph, and a tiny run of all sections."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from scripts.benchmarks.__main__ import SECTIONS, main, run
from scripts.benchmarks.block_method import affordable_graphs, relative_difference
from scripts.benchmarks.blocks import BlockEvaluation, BlockMethod, cut_blocks
from scripts.benchmarks.context import Scale
from scripts.benchmarks.evaluation import PIECES, UNTILED, Evaluation
from scripts.benchmarks.farm import overhead
from scripts.benchmarks.projection import project
from scripts.benchmarks.report import Results
from scripts.benchmarks.timing import Spread, alternate, rates, ratios
from scripts.benchmarks.workload import default_settings, flop_per_pixel, load_default_weights
from tilefarm.geometry import Box, Size
from tilefarm.plan.halo import Piece
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import LevelTargets, Picture, SolverSettings, Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.spec.networks import channels_of

TINY = Scale(
    name="tiny",
    rounds=2,
    picture=Size(64, 48),
    core=32,
    block_picture=Size(96, 64),
    block_rounds=1,
    block=32,
    block_core=32,
    margin=160,
    tile=32,
    farm_tiles=6,
    memory=(Size(64, 48),),
)
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
    return LevelTargets("test", grams, {name: 5e3 for name, _ in settings.content_layers})


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
        aim = torch.from_numpy(aims.grams[name]).double()
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


def test_works_alternate() -> None:
    calls: list[str] = []
    seconds = alternate(3, {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")})
    assert calls == ["a", "b"] * 3
    assert {name: len(found) for name, found in seconds.items()} == {"a": 3, "b": 3}
    assert min(seconds["a"] + seconds["b"]) >= 0


def test_ratios_are_formed_within_rounds() -> None:
    """1/2, 9/3 and 4/1: their median is 3, while the ratio of the medians is 2."""
    assert ratios([1, 9, 4], [2, 3, 1]) == Spread(3, 0.5, 4, 3)
    assert rates(6, [1, 3, 2]) == Spread(3, 2, 6, 3)
    with pytest.raises(ValueError, match="zip"):
        ratios([1, 2], [1])


def test_the_farms_overhead_is_what_workers_did_not_work() -> None:
    """Two workers with 10 s of work between them, that took 6 s: 1 s is lost by each, over 4 tiles."""
    record = overhead(walls=[6.0], busy=[10.0], workers=2, tiles=4)
    assert record.time_over_ideal.median == pytest.approx(1.2)
    assert record.overhead_milliseconds.median == pytest.approx(500)
    assert record.tile_seconds.median == pytest.approx(2.5)


def test_graphs_are_kept_as_far_as_the_budget_goes() -> None:
    """1520 bytes a pixel, by hand.

    Convolutions, at 4 bytes: 512, 256, 256, 128 and 8 by block; poolings, with 8 bytes of position for each
    value: 192, 96, 48, 24.
    """
    pieces = [Piece(Box(0, 0, 100, 100), Box(0, 0, 100, 100))] * 5
    assert affordable_graphs(pieces, 0) == 0
    assert affordable_graphs(pieces, 3 * 100 * 100 * 1520) == 3
    assert affordable_graphs(pieces, 3 * 100 * 100 * 1520 - 1) == 2
    assert affordable_graphs(pieces, 10**12) == 5


def test_the_arithmetic_of_a_pixel() -> None:
    """0.72 MFLOP forward and as much again back: the sum over VGG-19's first 13 convolutions, by hand."""
    cells = 1, 1 / 4, 1 / 16, 1 / 64, 1 / 256
    pairs = (
        (3 * 64 + 64 * 64),
        (64 * 128 + 128 * 128),
        (128 * 256 + 3 * 256 * 256),
        (256 * 512 + 3 * 512 * 512),
        512 * 512,
    )
    by_hand = sum(share * pair for share, pair in zip(cells, pairs, strict=True))
    assert flop_per_pixel() == pytest.approx(2 * 2 * 9 * by_hand)


def evaluation(way: str, seconds: float, crop_pixels: int) -> Evaluation:
    one = Spread.of([1.0])
    return Evaluation(
        way=way,
        precision="bfloat16",
        width=100,
        height=100,
        pieces=4,
        crop_pixels=crop_pixels,
        seconds=Spread(seconds, seconds / 2, seconds * 2, 3),
        megapixels_per_second=one,
        time_over_untiled=one,
        peak_gflops=one,
        share_of_peak=one,
    )


def test_whole_levels_are_projected_at_the_untiled_speed() -> None:
    """448x336 has two levels, both whole, with 16 pixels of border on every side."""
    evaluations = [evaluation(UNTILED, 2.0, 10_000), evaluation(PIECES, 8.0, 10_000)]
    (found,) = project(evaluations, Size(448, 336))
    pixels = 600 * (224 + 32) * (168 + 32) + 400 * (448 + 32) * (336 + 32)
    assert found.hours.median == pytest.approx(pixels * 2.0 / 10_000 / 3600)
    assert found.hours.largest == pytest.approx(2 * found.hours.median)
    assert (found.levels, found.piece_megapixels) == (2, 0)


def test_levels_in_pieces_are_projected_by_their_crops_at_the_speed_without_graphs() -> None:
    evaluations = [
        replace(evaluation(UNTILED, 1e9, 1), precision="float32"),
        evaluation(UNTILED, 0.0, 10_000),
        evaluation(PIECES, 3.0, 15_000),
    ]
    (found,) = project(evaluations)
    # 30 steps and the start at the finest level alone, 6032x4532 with its border, halos not yet counted
    assert found.piece_megapixels > 31 * 6.032 * 4.532
    assert found.hours.median == pytest.approx(found.piece_megapixels * 1e6 * 3.0 / 15_000 / 3600)
    assert found.precision == "bfloat16"


def test_an_unknown_section_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--only", "evaluations"])
    assert stop.value.code == 2
    assert "block_method" in capsys.readouterr().err


SPREAD = {"median", "smallest", "largest", "count"}
KEYS = {
    "evaluation": {
        *("way", "precision", "width", "height", "pieces", "crop_pixels", "seconds"),
        *("megapixels_per_second", "time_over_untiled", "peak_gflops", "share_of_peak"),
    },
    "block_method": {
        *("width", "height", "block", "margin", "core", "pieces", "graphs_kept", "graph_budget_bytes"),
        *("seconds", "block_seconds", "time_ratio", "gradient_difference"),
    },
    "scaling": {
        *("width", "height", "pieces", "precision", "one_worker_seconds", "two_workers_seconds", "speedup"),
    },
    "memory": {
        *("width", "height", "pieces", "precision", "graphs_kept", "contents_kept"),
        *("driver_bytes", "worker_bytes"),
    },
    "projection": {
        *("width", "height", "precision", "levels", "whole_megapixels", "piece_megapixels", "hours"),
    },
}
TILE_KEYS = {"tile", "steps", "precision", "seconds", "megapixel_steps_per_second", "share_of_peak"}
FARM_KEYS = {"workers", "tiles", "tile_seconds", "seconds", "time_over_ideal", "overhead_milliseconds"}


@pytest.fixture(scope="module")
def results() -> Results:
    return run(TINY, SECTIONS)


@pytest.fixture(scope="module")
def document(results: Results) -> Any:
    return json.loads(results.to_json())


def measured(record: dict[str, Any]) -> Sequence[dict[str, float]]:
    return [value for value in record.values() if isinstance(value, dict)]


def test_the_json_has_the_documented_keys(document: Any) -> None:
    assert set(document) == {"machine", "scale", "seconds", "sections"}
    assert {"cpu", "cores", "threads", "torch", "fast_precision"} <= set(document["machine"])
    assert document["scale"]["picture"] == {"width": 64, "height": 48}
    sections = document["sections"]
    assert set(sections) == set(SECTIONS)
    for name, keys in KEYS.items():
        assert sections[name]
        assert all(set(record) == keys for record in sections[name])
    assert [set(record) for record in sections["farm"]] == [TILE_KEYS, FARM_KEYS]
    values = [value for records in sections.values() for record in records for value in measured(record)]
    assert len(values) > 20
    for value in values:
        assert set(value) == SPREAD
        assert 0 < value["smallest"] <= value["median"] <= value["largest"]


def test_the_sections_measure_what_they_say(document: Any) -> None:
    sections = document["sections"]
    ways = [record["way"] for record in sections["evaluation"]]
    assert ways[:2] == [UNTILED, PIECES]
    for record in sections["evaluation"]:
        whole = record["way"] == UNTILED
        assert (record["pieces"], record["crop_pixels"]) == ((1, 64 * 48) if whole else (4, 4 * 64 * 48))
    assert [record["graphs_kept"] for record in sections["block_method"]] == [6, 0]
    assert all(record["gradient_difference"] < 1e-5 for record in sections["block_method"])
    assert sections["farm"][1]["time_over_ideal"]["smallest"] >= 1
    assert sections["farm"][1]["tile_seconds"]["smallest"] >= 0.02
    (memory,) = sections["memory"]
    assert 50 * 2**20 < memory["driver_bytes"] < memory["worker_bytes"] < 4 * 2**30


def test_the_table_names_the_machine_and_every_section(results: Results) -> None:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(results.table())
    text = capture.get()
    assert results.machine.cpu in text
    assert f"torch {torch.__version__}" in text
    for name in SECTIONS:
        assert f"\n{name} " in text
