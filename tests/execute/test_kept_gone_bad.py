"""Numbers that go bad in what a worker keeps between the passes: the pass that is done again is good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.execute.conftest import Work
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Keep
from tilefarm.execute.worker import TileWorker
from tilefarm.geometry import Size
from tilefarm.plan.halo import partition, receptive_field
from tilefarm.solve.pieces import PieceSolver

SIZE = Size(95, 63)
PIECES = tuple(partition(SIZE, 32, receptive_field("vgg19", "relu3_1")))


@pytest.fixture
def worker(work: Work) -> TileWorker:
    return TileWorker(work.weights, "cpu", 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    for name in ("point", "content"):
        generator.random((SIZE.height, SIZE.width, 3), dtype=np.float32).tofile(tmp_path / name)
    return tmp_path


def kept_by(worker: TileWorker) -> PieceSolver:
    assert worker._solver is not None
    assert worker._solver._pieces is not None
    return worker._solver._pieces


def evaluated(
    work: Work, worker: TileWorker, folder: Path, after_piece: Callable[[int], None]
) -> tuple[float, bytes, int]:
    """The second evaluation's loss and gradient, and how many results were thrown away."""
    keep, picture = Keep(len(PIECES), len(PIECES)), WholePicture("level", SIZE, PIECES, folder / "content")
    evaluations: list[int] = []

    def on_piece(done: int, total: int) -> None:
        if evaluations:
            after_piece(done)
        elif done == total:
            evaluations.append(done)
            after_piece(0)

    evaluate = WholeEvaluator(LocalExecutor(worker), work.settings, work.targets, picture, keep, on_piece)
    thrown_away: list[int] = []
    evaluate.on_gone_wrong = thrown_away.append
    evaluate(folder / "point", folder / "gradient")
    loss = evaluate(folder / "point", folder / "gradient")
    return loss, (folder / "gradient").read_bytes(), sum(thrown_away)


@pytest.mark.parametrize("what", ["content", "graph"])
def test_it_is_made_anew(work: Work, worker: TileWorker, folder: Path, what: str) -> None:
    expected = evaluated(work, TileWorker(work.weights, "cpu", 1), folder, lambda done: None)
    spoiled: list[int] = []

    def spoil(done: int) -> None:
        if what == "content" and done == 0:
            spoiled.append(done)
            for fixed in kept_by(worker)._fixed.values():
                fixed.content["relu2_2"].fill_(np.nan)
        elif what == "graph" and done == len(PIECES) and not spoiled:
            spoiled.append(done)
            for graph in kept_by(worker)._graphs.values():
                for features in graph.features.values():
                    features.data.fill_(np.nan)

    loss, gradient, thrown_away = evaluated(work, worker, folder, spoil)
    assert spoiled
    assert thrown_away == 1
    assert (loss, gradient) == expected[:2]
