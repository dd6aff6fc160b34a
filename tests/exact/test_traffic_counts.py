"""What an evaluation sends is counted, byte for byte."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pieces import PieceMixer
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Keep, WorkerInfo
from tilefarm.geometry import Size
from tilefarm.plan.halo import ReceptiveField, partition
from tilefarm.solve.contract import LevelTargets, RegionMoments, SolverSettings
from tilefarm.solve.tasks import MissingState
from tilefarm.solve.traffic import Traffic
from tilefarm.spec.transport import Transport

SIZE = Size(96, 64)
PIECES = tuple(partition(SIZE, 32, ReceptiveField(1, 0, 8)))
SETTINGS = SolverSettings(
    "vgg19", "max", "float32", (("relu2_2", 1.0),), (("relu1_1", 1.0), ("relu3_1", 2.0)), 1.0, 1.0, 0.0, 5
)
MOMENTS = RegionMoments(np.ones((1, 2), np.float32), np.eye(2, dtype=np.float32)[None])
TARGETS = LevelTargets("key", {"relu1_1": MOMENTS, "relu3_1": MOMENTS}, {"relu2_2": 1.0})

CROPS = sum(piece.crop.size.pixels for piece in PIECES) * 3
"""Values of all crops: more than the picture has."""
SUMS = len(PIECES) * 2 * 8 * (1 + 2 + 3)
"""Two layers of two features: weight, sums, and three products."""
SLOPES = 2 * 4 * (2 + 4)


class Machines(LocalExecutor):
    """Says that it has a worker on each of these machines."""

    def __init__(self, *nodes: str) -> None:
        super().__init__(PieceMixer())
        self.nodes = nodes
        self.gone: tuple[str, ...] = ()
        """Those whose workers have left."""

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        return tuple(replace(self._info[0], node=node) for node in (*self.gone, *self.nodes))

    @property
    def present(self) -> tuple[WorkerInfo, ...]:
        return self.workers[len(self.gone) :]


def evaluator(
    folder: Path, keep: Keep, transport: Transport, executor: LocalExecutor | None = None
) -> WholeEvaluator:
    generator = np.random.default_rng(1)
    for name in ("point", "content"):
        generator.random((SIZE.height, SIZE.width, 3), dtype=np.float32).tofile(folder / name)
    picture = WholePicture("key", SIZE, PIECES, folder / "content")
    used = LocalExecutor(PieceMixer()) if executor is None else executor
    return WholeEvaluator(used, SETTINGS, TARGETS, picture, keep, lambda done, total: None, transport)


def evaluated(evaluate: WholeEvaluator, folder: Path) -> tuple[Traffic, bytes]:
    told: list[Traffic] = []
    evaluate.on_traffic = told.append
    evaluate(folder / "point", folder / "gradient")
    assert told == [evaluate.traffic]
    return told[0], (folder / "gradient").read_bytes()


def test_the_crops_are_larger_than_the_picture() -> None:
    assert len(PIECES) == 6
    assert SIZE.pixels * 3 < CROPS


def test_what_is_kept_is_not_sent(tmp_path: Path) -> None:
    back = {"sums_back": SUMS, "gradients_back": 4 * CROPS}
    nothing = evaluator(tmp_path, Keep(0, 0), "float32")
    for _ in range(2):
        found, _ = evaluated(nothing, tmp_path)
        assert found == Traffic(1, sums_out=8 * CROPS, gradients_out=8 * CROPS + SLOPES, **back)
    contents = evaluator(tmp_path, Keep(0, 99), "float32")
    first, second = (evaluated(contents, tmp_path)[0] for _ in range(2))
    assert first == Traffic(1, sums_out=8 * CROPS, gradients_out=4 * CROPS + SLOPES, **back)
    assert second == Traffic(1, sums_out=4 * CROPS, gradients_out=4 * CROPS + SLOPES, **back)
    everything = evaluator(tmp_path, Keep(99, 99), "float32")
    first, second = (evaluated(everything, tmp_path)[0] for _ in range(2))
    assert second == Traffic(1, sums_out=4 * CROPS, gradients_out=SLOPES, **back)
    assert second.per_pixel(SIZE.pixels) == (8 * CROPS + SUMS + SLOPES) / SIZE.pixels
    assert (first + second).evaluations == 2
    assert (first + second).out == first.out + second.out


def test_slopes_go_to_every_machine_once(tmp_path: Path) -> None:
    executor = Machines("there", "and there", "there", "there")
    found, _ = evaluated(evaluator(tmp_path, Keep(99, 99), "float32", executor), tmp_path)
    assert found.gradients_out == 2 * SLOPES


def test_half_the_bytes(tmp_path: Path) -> None:
    found, gradient = evaluated(evaluator(tmp_path, Keep(99, 99), "half"), tmp_path)
    sums = len(PIECES) * 2 * (8 + 4 * (2 + 3))
    assert found == Traffic(1, 4 * CROPS, sums, SLOPES, 2 * CROPS)
    _, exact = evaluated(evaluator(tmp_path, Keep(99, 99), "float32"), tmp_path)
    found_values, wanted = (np.frombuffer(data, np.float32) for data in (gradient, exact))
    assert 0 < np.linalg.norm(found_values - wanted) < 1e-3 * np.linalg.norm(wanted)


def test_packing_is_for_workers_on_other_machines_and_changes_nothing(tmp_path: Path) -> None:
    (plain, wanted), (packed, found) = (
        evaluated(evaluator(tmp_path, Keep(0, 0), "auto", Machines(node)), tmp_path)
        for node in (platform.node(), "elsewhere")
    )
    assert plain.gradients_back == 4 * CROPS
    assert found == wanted
    assert 3 * CROPS < packed.gradients_back < 3.6 * CROPS
    assert 6 * CROPS < packed.sums_out < 7 * CROPS


def test_workers_that_join_on_another_machine_and_leave_are_noticed(tmp_path: Path) -> None:
    executor = Machines(platform.node())
    evaluate = evaluator(tmp_path, Keep(0, 99), "auto", executor)
    counts: list[Traffic] = [evaluated(evaluate, tmp_path)[0]]
    executor.nodes = (platform.node(), "there")
    counts.append(evaluated(evaluate, tmp_path)[0])
    executor.nodes, executor.gone = (platform.node(),), ("there",)
    counts.append(evaluated(evaluate, tmp_path)[0])
    assert [found.gradients_back < 4 * CROPS for found in counts] == [False, True, False]
    assert counts[2].gradients_out == 4 * CROPS + SLOPES, "for this machine alone"


def test_a_pass_is_over_before_it_is_done_again(tmp_path: Path) -> None:
    """Else its calls would be under way beside the new one's, and nobody would watch over them."""
    passes: list[str] = []

    class Forgetting(LocalExecutor):
        """The first of every two passes misses something."""

        def piece_sums(self, *call: Any, **more: Any) -> Iterator[Any]:
            return self._again(super().piece_sums(*call, **more))

        def piece_gradients(self, *call: Any, **more: Any) -> Iterator[Any]:
            return self._again(super().piece_gradients(*call, **more))

        def _again(self, parts: Iterator[Any]) -> Iterator[Any]:
            passes.append("begins")
            try:
                for part in parts:
                    yield part if len(passes) % 4 == 3 else MissingState(part.index)
            finally:
                passes.append("ends")

    evaluated(evaluator(tmp_path, Keep(9, 9), "float32", Forgetting(PieceMixer())), tmp_path)
    assert passes == ["begins", "ends"] * 4


@pytest.mark.parametrize("transport", ["float32", "packed", "half"])
def test_the_same_whatever_is_kept(tmp_path: Path, transport: Transport) -> None:
    nothing, some = (
        evaluated(evaluator(tmp_path, keep, transport), tmp_path) for keep in (Keep(0, 0), Keep(2, 4))
    )
    assert nothing[1] == some[1]
