"""The order in which a round puts things on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from tests.prepared import prepared_job
from tests.standins import Mixer
from tilefarm.canvas.tile_store import TileStore
from tilefarm.errors import TilefarmError
from tilefarm.events import Event, RoundFinished, TileFinished
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Batch, BatchDone, Executor, Progress
from tilefarm.geometry import Size
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.grid import Grid
from tilefarm.rounds import Round, RunTools
from tilefarm.rundir.journal import Journal, RoundDone, TileDone, read_journal
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.solve.contract import LevelTargets, SolverSettings

LEVEL = LevelPlan(0, Grid.of(Size(24, 16), 16), 1, 3, ())
TILES, BATCH = 12, 5
TARGETS = LevelTargets("test", {}, {})


class Disturbed(LocalExecutor):
    """Solves as a stand-in does, but for one batch: its result is changed, or forgotten."""

    def __init__(self, batch: int, change: Callable[[BatchDone], BatchDone | None]) -> None:
        super().__init__(Mixer())
        self._batch, self._change = batch, change

    def solve(
        self,
        settings: SolverSettings,
        targets: LevelTargets,
        batches: Iterable[Batch],
        on_progress: Callable[[Progress], None],
    ) -> Iterator[BatchDone]:
        for done in super().solve(settings, targets, batches, on_progress):
            found = self._change(done) if done.index == self._batch else done
            if found is not None:
                yield found


def spoiled(done: BatchDone) -> BatchDone:
    """One pixel of its last tile is no number."""
    *good, last = done.solutions
    image = last.image.copy()
    image[3, 4, 1] = np.nan
    return replace(done, solutions=(*good, replace(last, image=image)))


def lost(done: BatchDone) -> None:
    """Nothing comes of it."""


def render(folder: Path, executor: Executor, listen: Callable[[Event], None] = lambda event: None) -> RunDir:
    run = RunDir(folder)
    assert LEVEL.grid.tiles == TILES
    for path in (run.canvas(0), run.content(0)):
        np.random.default_rng(3).random((16, 24, 3), dtype=np.float32).tofile(path)
    prepared = prepared_job(1000)
    tiles = prepared.job.tiles.model_copy(update={"drift_correction": False})
    prepared = replace(prepared, job=prepared.job.model_copy(update={"tiles": tiles}))
    settings = SolverSettings("vgg19", "max", "float32", (), (), 1.0, 1.0, 0.0, 5)
    with Journal(run.journal) as journal, TileStore(run.tiles, LEVEL.grid.tile, TILES) as store:
        tools = RunTools(prepared, run, journal, RunState(), executor, settings, BATCH, listen)
        Round(tools, LEVEL, 0, store, TARGETS).render()
    return run


def recorded(run: RunDir) -> list[int]:
    return [line.tile for line in read_journal(run.journal) if isinstance(line, TileDone)]


def test_a_batch_is_on_record_when_its_pixels_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two waits for the disk per batch: slots, then lines; and tiles are told of when both are over."""
    run = RunDir(tmp_path)
    run.tiles.touch()
    what: list[tuple[str, int]] = []

    def synced(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == run.tiles.stat().st_ino:
            slots = np.fromfile(run.tiles, "<f4").reshape(TILES, -1)
            count = int(slots.any(axis=1).sum())
            assert len(recorded(run)) < count
            what.append(("slots", count))
        elif os.fstat(descriptor).st_ino == run.journal.stat().st_ino:
            what.append(("lines", len(recorded(run))))

    def listen(event: Event) -> None:
        what.append((type(event).__name__, event.done if isinstance(event, TileFinished) else 0))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "fdatasync", synced)
    render(tmp_path, LocalExecutor(Mixer()), listen)
    expected: list[tuple[str, int]] = []
    for first, last in ((1, 5), (6, 10), (11, 12)):
        expected += [("slots", last), ("lines", last)]
        expected += [(TileFinished.__name__, count) for count in range(first, last + 1)]
    assert what == [*expected, ("lines", 12), (RoundFinished.__name__, 0)]
    lines = list(read_journal(run.journal))
    assert isinstance(lines[-1], RoundDone)
    with TileStore(run.tiles, LEVEL.grid.tile, TILES) as store:
        assert all(store.holds(line.tile, line.crc) for line in lines if isinstance(line, TileDone))


def test_nothing_of_a_batch_with_a_spoilt_tile_is_on_record(tmp_path: Path) -> None:
    with pytest.raises(TilefarmError, match="tile 9 came back with values that are not finite numbers"):
        render(tmp_path, cast(Executor, Disturbed(1, spoiled)))
    run = RunDir(tmp_path)
    assert recorded(run) == [0, 1, 2, 3, 4]
    slots = np.fromfile(run.tiles, "<f4").reshape(TILES, -1)
    assert slots.any(axis=1).tolist() == [True] * 5 + [False] * 7


def test_a_batch_that_never_comes_back_is_not_blended(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="batch 1 was never finished"):
        render(tmp_path, cast(Executor, Disturbed(1, lost)))
    run = RunDir(tmp_path)
    assert recorded(run) == [0, 1, 2, 3, 4, 10, 11]
    assert not [line for line in read_journal(run.journal) if isinstance(line, RoundDone)]
