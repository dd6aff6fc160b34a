"""Whole evaluations over executors: the same bytes everywhere, and after a worker was lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.moments import gram_styles
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.exact.verify import HALF_TOLERANCE, verify
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Executor, FullTask, Keep
from tilefarm.execute.worker import TileWorker
from tilefarm.geometry import Size
from tilefarm.plan.halo import ReceptiveField, partition, receptive_field
from tilefarm.solve.contract import LevelTargets, Losses, SolverSettings, Weights
from tilefarm.solve.tasks import PieceTask
from tilefarm.solve.weights import load_weights
from tilefarm.solve.whole import Evaluated, WholeObjective, WholeSums
from tilefarm.spec.transport import Transport

SIZE = Size(101, 67)
SETTINGS = SolverSettings(
    network="vgg19",
    pooling="max",
    precision="float32",
    content_layers=(("relu2_2", 1.0),),
    style_layers=(("relu1_1", 1.0), ("relu3_1", 2.0)),
    content_weight=1.0,
    style_weight=1.0,
    tv_weight=3e5,  # so much that float32 shows it beside the style
    history=5,
)
FIELD = receptive_field("vgg19", "relu3_1")
NOTHING, ALL = Keep(graphs=0, contents=0), Keep(graphs=100, contents=100)
CROPS = Keep(graphs=1, contents=100, crops=100)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights("vgg19", "bundled")


@pytest.fixture(scope="module")
def local(weights: Weights) -> Executor:
    return LocalExecutor(TileWorker(weights, "cpu", 1))


@pytest.fixture(scope="module")
def farm(weights: Weights) -> Iterator[Executor]:
    from tilefarm.execute import cluster
    from tilefarm.execute.farm import RayExecutor
    from tilefarm.execute.layout import alike

    cluster.start_local(2, "cpu")
    executor = RayExecutor(cluster.make_worker, weights, alike(2, 1, 0))
    yield executor
    executor.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    for name in ("point", "content", "moved"):
        generator.random((SIZE.height, SIZE.width, 3), dtype=np.float32).tofile(tmp_path / name)
    return tmp_path


def targets() -> LevelTargets:
    generator = np.random.default_rng(2)
    grams = {}
    for name, channels in (("relu1_1", 64), ("relu3_1", 256)):
        root = generator.random((channels, channels), dtype=np.float32) * 20
        grams[name] = (root @ root.T / channels).astype(np.float32)
    return LevelTargets("test", gram_styles(grams), {"relu2_2": 5e4})


def evaluator(
    executor: Executor, folder: Path, keep: Keep, core: int = 32, transport: Transport = "float32"
) -> WholeEvaluator:
    pieces = tuple(partition(SIZE, core, FIELD))
    assert len(pieces) > 2
    picture = WholePicture("test", SIZE, pieces, folder / "content")
    return WholeEvaluator(executor, SETTINGS, targets(), picture, keep, lambda done, total: None, transport)


def results(evaluate: WholeEvaluator, folder: Path) -> list[tuple[Losses, bytes]]:
    """Of two evaluations: the second one relies on what was kept in the first."""
    found = []
    for point in ("point", "moved"):
        evaluate(folder / point, folder / "gradient")
        found.append((evaluate.losses, (folder / "gradient").read_bytes()))
    return found


def test_the_same_bytes_whatever_is_kept_and_wherever_it_is_done(
    local: Executor, farm: Executor, folder: Path
) -> None:
    wanted = results(evaluator(local, folder, NOTHING), folder)
    assert wanted[0] != wanted[1]
    for executor in (local, farm):
        for keep in (NOTHING, Keep(graphs=1, contents=1, crops=1), Keep(graphs=2, contents=100), ALL, CROPS):
            assert results(evaluator(executor, folder, keep), folder) == wanted


def test_each_transport_gives_the_same_bytes_wherever_it_is_done(
    local: Executor, farm: Executor, folder: Path
) -> None:
    wanted = results(evaluator(local, folder, NOTHING), folder)
    half = results(evaluator(local, folder, NOTHING, transport="half"), folder)
    assert half != wanted
    keeping = evaluator(local, folder, CROPS, transport="half")
    assert results(keeping, folder) == half
    assert keeping.traffic.gradients_out == 4 * sum(n * n + n for n in (64, 256)), "slopes, and no crop"
    for keep in (NOTHING, CROPS):
        assert results(evaluator(farm, folder, keep, transport="packed"), folder) == wanted
        assert results(evaluator(farm, folder, keep, transport="half"), folder) == half


def test_a_worker_that_was_killed_between_evaluations_changes_nothing(
    local: Executor, farm: Executor, folder: Path
) -> None:
    wanted = results(evaluator(local, folder, NOTHING), folder)
    evaluate = evaluator(farm, folder, ALL)
    evaluate(folder / "point", folder / "gradient")
    os.kill(farm.workers[0].process, signal.SIGKILL)
    evaluate(folder / "moved", folder / "gradient")
    assert (evaluate.losses, (folder / "gradient").read_bytes()) == wanted[1]


def test_a_worker_that_was_killed_between_the_passes_changes_nothing(
    local: Executor, farm: Executor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = results(evaluator(local, folder, NOTHING), folder)
    between = WholeObjective.evaluate

    def killing(objective: WholeObjective, sums: WholeSums, tv: float) -> Evaluated:
        os.kill(farm.workers[1].process, signal.SIGKILL)
        return between(objective, sums, tv)

    monkeypatch.setattr(WholeObjective, "evaluate", killing)
    evaluate = evaluator(farm, folder, CROPS)  # a graph is lost, and crops of other pieces
    evaluate(folder / "point", folder / "gradient")
    assert (evaluate.losses, (folder / "gradient").read_bytes()) == wanted[0]


class Wandering(LocalExecutor):
    """Every pass gives each piece to the one of two workers that did not have it in the pass before."""

    def __init__(self, weights: Weights) -> None:
        both = [TileWorker(weights, "cpu", 1), TileWorker(weights, "cpu", 1)]
        super().__init__(both[0])
        self._both = both
        self._passes = 0
        self.missing = 0

    def piece_sums(self, settings: Any, keep: Any, tasks: Any, full: Any = None) -> Iterator[Any]:
        for worker, task in self._there(tasks, full):
            yield worker.piece_sums(settings, keep, task)

    def piece_gradients(self, settings: Any, keep: Any, slopes: Any, tasks: Any, full: Any = None) -> Any:
        for worker, task in self._there(tasks, full):
            yield worker.piece_gradient(settings, keep, slopes, task)

    def _there(self, tasks: Iterable[PieceTask], full: FullTask) -> Iterator[tuple[TileWorker, PieceTask]]:
        self._passes += 1
        for task in tasks:
            self.missing += task.crop is None or task.content is None
            yield self._both[(task.index + self._passes) % 2], full(task.index)


def test_pieces_may_go_to_another_worker_in_every_pass(
    local: Executor, weights: Weights, folder: Path
) -> None:
    wanted = results(evaluator(local, folder, NOTHING), folder)
    wandering = Wandering(weights)
    assert results(evaluator(wandering, folder, ALL), folder) == wanted
    assert wandering.missing, "the workers that had them before keep what is needed"
    assert wandering._passes == 4, "and no pass was done again"


@pytest.mark.parametrize("exponent", [2.0, 1.5])
def test_total_variation_is_part_of_loss_and_gradient(local: Executor, folder: Path, exponent: float) -> None:
    """Against the slope between two points near each other."""
    evaluate, bare = (
        WholeEvaluator(
            local,
            replace(SETTINGS, tv_weight=weight, tv_exponent=exponent),
            targets(),
            WholePicture(f"weight {weight}", SIZE, tuple(partition(SIZE, 32, FIELD)), folder / "content"),
            NOTHING,
            lambda done, total: None,
        )
        for weight in (SETTINGS.tv_weight, 0.0)
    )
    evaluate(folder / "point", folder / "gradient")
    with_tv = np.fromfile(folder / "gradient", "<f4").astype(np.float64)
    assert evaluate.losses.tv > 0
    bare(folder / "point", folder / "gradient")
    only_tv = with_tv - np.fromfile(folder / "gradient", "<f4")
    pixels = np.fromfile(folder / "point", "<f4").reshape(SIZE.height, SIZE.width, 3).astype(np.float64)
    direction = np.random.default_rng(3).normal(0, 1e-3, pixels.shape)

    def tv(picture: np.ndarray) -> float:
        return (
            1000 * 3e5 * 0.05 * float(sum((abs(np.diff(picture, axis=a)) ** exponent).mean() for a in (0, 1)))
        )

    slope = (tv(pixels + direction) - tv(pixels - direction)) / 2
    assert float(only_tv @ direction.ravel()) == pytest.approx(slope, rel=1e-3)
    assert evaluate.losses.total - bare.losses.total == pytest.approx(tv(pixels), rel=1e-4)


def test_verify_holds_and_notices_a_halo_that_is_too_small(local: Executor) -> None:
    generator = np.random.default_rng(4)
    picture, content = (generator.random((70, 130, 3), dtype=np.float32) for _ in range(2))
    verdict = verify(local, SETTINGS, targets(), picture, content, 32, FIELD)
    assert verdict.holds
    assert (verdict.width, verdict.height, verdict.tile, verdict.halo) == (130, 70, 32, FIELD.halo)
    assert verdict.gradient_rel_error < 5e-6
    packed = verify(local, SETTINGS, targets(), picture, content, 32, FIELD, transport="packed")
    assert packed.gradient_rel_error == verdict.gradient_rel_error
    half = verify(local, SETTINGS, targets(), picture, content, 32, FIELD, transport="half")
    assert half.holds
    assert (half.transport, half.tolerance) == ("half", HALF_TOLERANCE)
    assert 1e-4 < half.gradient_rel_error < HALF_TOLERANCE
    without = verify(local, SETTINGS, targets(), picture, content, 32, ReceptiveField(FIELD.stride, 4, 4))
    assert not without.holds
