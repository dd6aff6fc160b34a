"""Plain PyTorch and bare convolutions, the section evaluation's references, and how it compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from scripts.benchmarks.bare import bare_convolutions, bare_passes
from scripts.benchmarks.evaluation import BARE, EXACT, EXACT_KEPT, PLAIN, UNTILED, Evaluation, Way, compare
from scripts.benchmarks.peak import FLOP
from scripts.benchmarks.plain import PlainObjective, nchw, plain_steps
from scripts.benchmarks.timing import Spread
from scripts.benchmarks.workload import (
    default_settings,
    flop_per_pixel,
    load_default_weights,
    make_workload,
    whole,
)
from tests.exactness import relative_error, smooth_picture, targets_of, untiled
from tilefarm.canvas.vectors import FileVectors
from tilefarm.exact.lbfgs import FileLbfgs
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Executor, Keep
from tilefarm.execute.worker import TileWorker
from tilefarm.geometry import Box, Size
from tilefarm.image.window import copy_window, open_raw
from tilefarm.plan.cut import Cut
from tilefarm.plan.halo import Piece
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import Precision, Weights


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_default_weights()


def test_plain_pytorch_has_the_default_objective(weights: Weights) -> None:
    """Against the formulas; the picture is odd on both sides."""
    settings = default_settings("float32")
    image, content, style = (smooth_picture(67, 53, seed) for seed in (1, 2, 3))
    targets = targets_of(make_network(settings, weights, "cpu"), settings, style)
    point = nchw(image).requires_grad_()
    loss = PlainObjective(settings, weights, targets, content).loss(point)
    (gradient,) = torch.autograd.grad(loss, point)
    wanted, wanted_gradient = untiled(settings, weights, targets, image, content)
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)
    # other layouts, other rounding: near-ties of the pooling turn around
    assert relative_error(gradient[0].permute(1, 2, 0).numpy(), wanted_gradient) < 5e-3


def test_plain_pytorch_takes_tilefarms_steps(tmp_path: Path, weights: Weights) -> None:
    """torch's optimizer on the plain objective and tilefarm's on its own: one path, one evaluation a step."""
    size = Size(64, 48)

    def executor() -> Executor:
        return LocalExecutor(TileWorker(weights, "cpu", 1))

    work = make_workload(tmp_path, executor(), "float32", size)
    start, content = (np.array(open_raw(path, size)) for path in (work.point, work.content))
    evaluate = work.evaluator(executor(), whole(size), Keep(1, 1))
    ours = FileLbfgs(tmp_path / "steps", FileVectors(Cut.of(size)), work.settings.history, evaluate)
    ours.start(lambda path: copy_window(work.point, size, Box.of(size), path))
    objective = PlainObjective(work.settings, weights, work.targets, content)
    step = plain_steps(objective.loss, start, work.settings.history, threads=1)
    theirs = [step() for _ in range(5)]
    assert all(ours.step() for _ in range(4))
    assert theirs == pytest.approx(ours.state.losses, rel=1e-3)
    assert theirs[-1] < 0.9 * theirs[0]


@pytest.mark.parametrize("history", [2, 20])
def test_plain_steps_remember_as_many_pairs_as_they_are_told(tmp_path: Path, history: int) -> None:
    """A quadratic whose curvatures differ a hundredfold: what is remembered decides the path."""
    curvatures = np.geomspace(1, 100, 48, dtype=np.float32).reshape(4, 4, 3)
    start = np.ones_like(curvatures)

    def evaluate(point: Path, gradient: Path) -> float:
        x = np.fromfile(point, dtype=np.float32)
        (curvatures.ravel() * x).tofile(gradient)
        return float((curvatures.ravel() * x * x).sum() / 2)

    ours = FileLbfgs(
        tmp_path / "steps", FileVectors(Cut.flat(start.size)), history, evaluate, largest_increase=np.inf
    )
    ours.start(start.tofile)
    assert all(ours.step() for _ in range(9))
    step = plain_steps(lambda x: (nchw(curvatures) * x * x).sum() / 2, start, history, threads=1)
    assert [step() for _ in range(10)] == pytest.approx(ours.state.losses, rel=1e-4)


def test_plain_pictures_are_in_torchs_usual_layout() -> None:
    image = smooth_picture(7, 5, 1)
    tensor = nchw(image)
    assert tensor.shape == (1, 3, 5, 7)
    assert tensor.is_contiguous()
    assert float(tensor[0, 2, 4, 1]) == image[4, 1, 2]


class Convolutions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what every convolution is given, forward or backward, and what gradients are asked of it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[object, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "convolution" in str(func):
            tensors = [
                (tuple(each.shape), each.dtype, each.is_contiguous(memory_format=torch.channels_last))
                for each in args
                if isinstance(each, torch.Tensor) and each.dim() == 4
            ]
            options = [each for each in args if not isinstance(each, torch.Tensor)]
            self.calls.append((str(func), *tensors, str(options)))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bare_convolutions_are_those_of_the_network(weights: Weights, precision: Precision) -> None:
    """Of an odd picture: the same calls into torch, with the same shapes, types and layouts."""
    settings = default_settings(precision)
    network = make_network(settings, weights, "cpu")
    names = [name for name, _ in (*settings.style_layers, *settings.content_layers)]
    point = nchw(smooth_picture(67, 53, 1)).requires_grad_()
    with Convolutions() as wanted:
        outputs = list(network.features(point, names).values())
        torch.autograd.grad(outputs, point, [torch.ones_like(each) for each in outputs])
    passes = bare_passes(precision, Size(67, 53), threads=1)
    with Convolutions() as found:
        passes()
    assert sorted(map(str, found.calls)) == sorted(map(str, wanted.calls))
    assert len(found.calls) == 2 * 13


def test_bare_convolutions_are_all_of_the_arithmetic() -> None:
    size = Size(64, 48)
    operations = sum(
        2 * 2 * 9 * layer.picture.shape[1] * layer.back[0].numel()
        for layer in bare_convolutions("float32", size)
    )
    assert operations == pytest.approx(size.pixels * flop_per_pixel())


def way(name: str, precision: Precision, size: Size, pieces: tuple[Piece, ...]) -> Way:
    return Way(name, precision, size, pieces, 0, print)


SMALL, LARGE = Size(10, 10), Size(20, 20)
PIECES = (Piece(Box(0, 0, 10, 20), Box(0, 0, 15, 20)), Piece(Box(10, 0, 20, 20), Box(5, 0, 20, 20)))
SECONDS: dict[Way, list[float]] = {
    way(PLAIN, "float32", SMALL, whole(SMALL)): [10.0, 12.0],
    way(UNTILED, "float32", SMALL, whole(SMALL)): [8.0, 8.0],
    way(BARE, "float32", SMALL, whole(SMALL)): [4.0, 4.0],
    way(UNTILED, "bfloat16", SMALL, whole(SMALL)): [4.0, 2.0],
    way(BARE, "bfloat16", SMALL, whole(SMALL)): [3.0, 1.0],
    way(EXACT_KEPT, "bfloat16", LARGE, PIECES): [20.0, 12.0],
    way(EXACT, "bfloat16", LARGE, PIECES): [24.0, 16.0],
}
"""Two rounds; the exact picture has four times the pixels of the untiled one."""
PEAKS = {"float32": [1.0, 1.0], "bfloat16": [0.5, 1.0]}


@pytest.fixture
def records() -> dict[str, Evaluation]:
    """By the name and the precision's first letter."""
    compared = compare(list(SECONDS), {each.key: found for each, found in SECONDS.items()} | PEAKS)
    return {record.way + record.precision[0]: record for record in compared}


def test_ways_are_compared_per_pixel_within_rounds_and_precisions(records: dict[str, Evaluation]) -> None:
    assert records[UNTILED + "f"].speed_over_plain == Spread(1.375, 1.25, 1.5, 2)
    assert records[UNTILED + "b"].speed_over_plain == Spread(4.25, 2.5, 6, 2)
    assert records[UNTILED + "f"].share_of_bare == Spread(0.5, 0.5, 0.5, 2)
    assert records[UNTILED + "b"].share_of_bare == Spread(0.625, 0.5, 0.75, 2)
    assert records[EXACT_KEPT + "b"].time_over_untiled == Spread(1.375, 1.25, 1.5, 2)
    assert records[EXACT + "b"].time_over_untiled == Spread(1.75, 1.5, 2, 2)


def test_speeds_are_of_the_pictures_pixels(records: dict[str, Evaluation]) -> None:
    record = records[EXACT_KEPT + "b"]
    assert record.megapixels_per_second.largest == pytest.approx(400e-6 / 12)
    shares = record.share_of_peak.smallest, record.share_of_peak.largest
    work = flop_per_pixel() * 400 / FLOP
    assert shares == pytest.approx((work / 20 * 0.5, work / 12 * 1.0))
    assert record.peak_gflops.largest == pytest.approx(FLOP / 0.5e9)
    assert (record.pieces, record.crop_pixels) == (2, 600)


def test_the_table_says_what_has_a_target(records: dict[str, Evaluation]) -> None:
    targets = {
        name: [(row.unit, row.note) for row in record.rows() if "target" in row.note]
        for name, record in records.items()
    }
    plain, bare = "x plain PyTorch's speed", "of bare convolutions' speed"
    assert {name: found for name, found in targets.items() if found} == {
        UNTILED + "f": [(plain, "target 1.0 or more"), (bare, "target 0.7 or more")],
        UNTILED + "b": [(plain, "target 2.5 or more"), (bare, "target 0.7 or more")],
        EXACT_KEPT + "b": [("x untiled time per pixel", "target 1.35 or less")],
    }
