"""A GPU's memory that is too small for what the exact method keeps: less is kept, to the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.execute.conftest import SIDE, Work, noise
from tests.shortage import Memory, alive, small_memory
from tilefarm.errors import ResourceError
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Keep
from tilefarm.execute.worker import TileWorker
from tilefarm.geometry import Box, Size
from tilefarm.plan.halo import partition, receptive_field
from tilefarm.solve.contract import Losses
from tilefarm.solve.pieces import PieceSolver
from tilefarm.solve.tasks import MissingState, PieceSums, PieceTask

SIZE = Size(95, 63)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    with small_memory(monkeypatch) as memory:
        yield memory


@pytest.fixture
def worker(work: Work) -> TileWorker:
    return TileWorker(work.weights, "cpu", 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    for name in ("point", "content", "moved"):
        generator.random((SIZE.height, SIZE.width, 3), dtype=np.float32).tofile(tmp_path / name)
    return tmp_path


def evaluator(work: Work, worker: TileWorker, folder: Path, keep: Keep) -> WholeEvaluator:
    pieces = tuple(partition(SIZE, 32, receptive_field("vgg19", "relu3_1")))
    assert len(pieces) == 6
    picture = WholePicture("level", SIZE, pieces, folder / "content")
    executor = LocalExecutor(worker)
    return WholeEvaluator(executor, work.settings, work.targets, picture, keep, lambda done, total: None)


def results(evaluate: WholeEvaluator, folder: Path) -> list[tuple[Losses, bytes]]:
    found = []
    for point in ("point", "moved", "point"):
        evaluate(folder / point, folder / "gradient")
        found.append((evaluate.losses, (folder / "gradient").read_bytes()))
    return found


@pytest.mark.parametrize(("room", "kept"), [(5, 4), (3, 2), (1, 0)])
def test_graphs_that_do_not_fit_are_dropped_and_fewer_are_kept(
    work: Work, worker: TileWorker, folder: Path, memory: Memory, room: int, kept: int
) -> None:
    """6 are asked for, and kept are 4, 3, 2, 1 or none: what is there when the next pass starts counts."""
    wanted = results(evaluator(work, worker, folder, Keep(0, 0)), folder)
    memory.graphs = room
    evaluate = evaluator(work, worker, folder, Keep(6, 6))
    found = results(evaluate, folder)
    assert found == wanted
    assert memory.shortages > 0
    shortages = memory.shortages
    memory.passes.clear()
    evaluate(folder / "moved", folder / "gradient")
    assert memory.shortages == shortages, "once it is known what fits, nothing fails"
    assert len(memory.passes) == 6 + (6 - kept), "one forward pass for every piece, and again without graph"


def test_a_backward_pass_that_does_not_fit_beside_kept_graphs_is_done_without(
    work: Work, worker: TileWorker, folder: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = results(evaluator(work, worker, folder, Keep(0, 0)), folder)
    real: Callable[..., object] = torch.autograd.grad

    def grad(*arguments: object, **options: object) -> object:
        memory.check(alive(memory.pictures) > 3)
        return real(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    evaluate = evaluator(work, worker, folder, Keep(6, 6))
    assert results(evaluate, folder) == wanted
    assert memory.shortages == 2, "with 6 graphs and with 4; 3 fit"
    memory.passes.clear()
    evaluate(folder / "moved", folder / "gradient")
    assert len(memory.passes) == 6 + 3


def test_contents_that_do_not_fit_are_dropped_when_no_graphs_are_kept(
    work: Work, worker: TileWorker, folder: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = results(evaluator(work, worker, folder, Keep(0, 0)), folder)

    class Short(PieceSolver):
        """Has no memory for a first pass beside the content's features of 3 pieces."""

        def statistics(self, task: PieceTask) -> PieceSums | MissingState:
            self.held: set[int] = getattr(self, "held", set())
            memory.check(len(self.held) >= 3)
            sums = super().statistics(task)
            if isinstance(sums, PieceSums) and sums.holds_content:
                self.held.add(task.index)
            return sums

    monkeypatch.setattr("tilefarm.solve.memory.PieceSolver", Short)
    worker = TileWorker(work.weights, "cpu", 1)
    evaluate = evaluator(work, worker, folder, Keep(0, 6))
    assert results(evaluate, folder) == wanted
    assert memory.shortages == 3, "with at most 6, 4 and 3; 2 fit"
    memory.passes.clear()
    evaluate(folder / "moved", folder / "gradient")
    assert memory.shortages == 3
    assert len(memory.passes) == 6 + 6 + 2 * (6 - 2), "the content's features of 2 pieces are kept"


def test_a_measurement_makes_room_by_dropping_what_is_kept(
    work: Work, worker: TileWorker, folder: Path, memory: Memory
) -> None:
    executor = LocalExecutor(worker)
    piece = PieceTask(0, "level", Box(0, 0, SIDE, SIDE), noise(1), noise(2))
    list(executor.piece_sums(work.settings, Keep(1, 1), [piece]))
    assert alive(memory.pictures) == 1
    memory.graphs = 1
    found = list(executor.measure(work.settings, iter(work.pieces)))
    assert memory.shortages == 1
    for measurement in found:
        expected = work.measurements[measurement.index]
        assert measurement.squares == expected.squares
        assert measurement.styles.keys() == expected.styles.keys()
        for layer, sums in expected.styles.items():
            np.testing.assert_array_equal(measurement.styles[layer].products, sums.products)


def test_a_piece_that_does_not_fit_alone_ends_the_run_with_the_sentence(
    work: Work, worker: TileWorker, folder: Path, memory: Memory
) -> None:
    memory.graphs = 0
    with pytest.raises(ResourceError, match=r"^a piece of 28x28 pixels with its halo does not fit"):
        evaluator(work, worker, folder, Keep(6, 6))(folder / "point", folder / "gradient")
    assert memory.shortages == 2
