"""Numbers that are not finite: never blended, never written, done again, counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faulty import shortened, worker_for, write_job
from tests.pieces import PieceMixer
from tests.remembering import Remembering
from tests.standins import Mixer, opener
from tilefarm.driver import render, run_folder
from tilefarm.errors import TileFailedError
from tilefarm.events import Event, StepTaken
from tilefarm.execute.open import ExecutorChoice
from tilefarm.execute.protocol import Batch, Keep
from tilefarm.rundir.journal import TileDone, read_journal
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.summary import read_summary
from tilefarm.solve.coding import decoded
from tilefarm.solve.contract import LevelTargets, SolverSettings
from tilefarm.solve.tasks import (
    Derivatives,
    LayerSums,
    Measurement,
    MeasureTask,
    PieceGradient,
    PieceSums,
    PieceTask,
    TileSolution,
)
from tilefarm.spec.load import load_job


class Halt(Exception):  # noqa: N818
    """Ends a run in mid-work."""


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with shortened():
        yield


def go_on(path: Path, worker: Mixer, listen: Callable[[Event], None] = lambda event: None) -> RunDir:
    job = load_job(path)
    run = run_folder(job, path.parent / "runs")
    render(job, run, ExecutorChoice("local"), listen, opener(worker))
    return run


def outcome(run: RunDir) -> tuple[Any, ...]:
    record = read_summary(run) or {}
    return tuple(record[key] for key in ("status", "numbers_gone_wrong", "tile_retries", "rollbacks"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """The output of an undisturbed run of a kind."""
    known: dict[str, bytes] = {}

    def of(kind: str) -> bytes:
        if kind not in known:
            path = write_job(tmp_path_factory.mktemp("undisturbed"), kind)
            run = go_on(path, worker_for(kind))
            assert outcome(run)[:3] == ("done", 0, 0)
            known[kind] = (path.parent / "out.tif").read_bytes()
        return known[kind]

    return of


# ---- tiles --------------------------------------------------------------------------------------------


def not_a_number(solution: TileSolution) -> TileSolution:
    image = solution.image.copy()
    image[3, 4, 1] = np.nan
    return dataclasses.replace(solution, image=image)


def endless_loss(solution: TileSolution) -> TileSolution:
    return dataclasses.replace(solution, last=dataclasses.replace(solution.last, total=np.inf))


def endless_means(solution: TileSolution) -> TileSolution:
    assert solution.moments is not None
    square = solution.moments.square.copy()
    square[0, 0, 0] = np.inf
    return dataclasses.replace(solution, moments=dataclasses.replace(solution.moments, square=square))


def spoiling(
    base: type[Mixer], spoil: Callable[[TileSolution], TileSolution], calls: tuple[int, ...]
) -> Mixer:
    """A worker that spoils the last tile of these calls, counted from 1."""

    class Spoiling(base):  # type: ignore[misc, valid-type]
        def solve(
            self, settings: SolverSettings, targets: LevelTargets, batch: Batch
        ) -> tuple[TileSolution, ...]:
            *good, last = super().solve(settings, targets, batch)
            return (*good, spoil(last) if self.solved in calls else last)

    worker: Mixer = Spoiling()
    return worker


@pytest.mark.parametrize(
    ("kind", "base", "spoil"),
    [
        ("feathered", Mixer, not_a_number),
        ("feathered", Mixer, endless_loss),
        ("means", Remembering, not_a_number),
        ("means", Remembering, endless_means),
    ],
)
def test_a_tile_that_went_wrong_is_solved_again(
    tmp_path: Path,
    pictures: Callable[[str], bytes],
    kind: str,
    base: type[Mixer],
    spoil: Callable[[TileSolution], TileSolution],
) -> None:
    path = write_job(tmp_path, kind)
    run = go_on(path, spoiling(base, spoil, (1, 7, 8)))
    assert (tmp_path / "out.tif").read_bytes() == pictures(kind)
    batch = 2 if kind == "means" else 1
    tiles_again = 1 + 2 * batch  # attempts are those of every tile of a batch
    assert outcome(run) == ("done", 3, tiles_again, 0)


def test_a_tile_that_stays_wrong_ends_the_run_and_is_not_on_record(
    tmp_path: Path, pictures: Callable[[str], bytes]
) -> None:
    path = write_job(tmp_path, "feathered")
    with pytest.raises(TileFailedError, match=r"failed 3 times.*not finite"):
        go_on(path, spoiling(Mixer, not_a_number, (7, 8, 9)))
    run = run_folder(load_job(path), tmp_path / "runs")
    assert sum(isinstance(line, TileDone) for line in read_journal(run.journal)) == 6
    assert all(np.isfinite(np.fromfile(file, "<f4")).all() for file in run.root.glob("*.f32"))
    go_on(path, Mixer())
    assert (tmp_path / "out.tif").read_bytes() == pictures("feathered")


class Mismeasuring(Mixer):
    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def measure(self, settings: SolverSettings, task: MeasureTask) -> Measurement:
        found = super().measure(settings, task)
        self.left -= 1
        if self.left < 0:
            return found
        sums = {name: LayerSums(s.weights, s.sums, s.products * np.nan) for name, s in found.styles.items()}
        return dataclasses.replace(found, styles=sums)


def test_statistics_that_went_wrong_are_measured_again(
    tmp_path: Path, pictures: Callable[[str], bytes]
) -> None:
    path = write_job(tmp_path, "feathered")
    run = go_on(path, Mismeasuring(2))
    assert (tmp_path / "out.tif").read_bytes() == pictures("feathered")
    assert outcome(run) == ("done", 2, 0, 0)


def test_statistics_that_stay_wrong_end_the_run(tmp_path: Path) -> None:
    path = write_job(tmp_path, "feathered")
    with pytest.raises(TileFailedError, match=r"piece 0 failed 3 times.*not finite"):
        go_on(path, Mismeasuring(3))


# ---- the exact method ---------------------------------------------------------------------------------


def spoiled(found: PieceGradient, value: float) -> PieceGradient:
    """Its first number is another, however it travels."""
    gradient = decoded(found.gradient).copy()
    gradient[0, 0, 0] = value
    return dataclasses.replace(found, gradient=gradient)


class Unstable(PieceMixer):
    """Spoils these of its calls, counted from 1: sums of pass 1, gradients of pass 2."""

    def __init__(self, sums: tuple[int, ...] = (), gradients: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.bad_sums = sums
        self.bad_gradients = gradients
        self.counts = [0, 0]

    def piece_sums(self, settings: SolverSettings, keep: Keep, task: PieceTask) -> PieceSums:
        found = super().piece_sums(settings, keep, task)
        assert isinstance(found, PieceSums)
        self.counts[0] += 1
        if self.counts[0] not in self.bad_sums:
            return found
        return dataclasses.replace(found, content_errors=dict.fromkeys(found.content_errors, np.inf))

    def piece_gradient(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, task: PieceTask
    ) -> PieceGradient:
        found = super().piece_gradient(settings, keep, slopes, task)
        assert isinstance(found, PieceGradient)
        self.counts[1] += 1
        if self.counts[1] in self.bad_gradients:
            return spoiled(found, np.nan)
        return found


@pytest.mark.parametrize(
    ("worker", "count"),
    [
        (Unstable(sums=(1,)), 1),
        (Unstable(sums=(9,)), 1),
        (Unstable(gradients=(1, 20)), 2),
        (Unstable(sums=(8,), gradients=(8,)), 2),
    ],
)
def test_a_piece_that_went_wrong_is_evaluated_again_and_no_step_is_lost(
    tmp_path: Path, pictures: Callable[[str], bytes], worker: Unstable, count: int
) -> None:
    path = write_job(tmp_path, "exact")
    run = go_on(path, worker)
    assert (tmp_path / "out.tif").read_bytes() == pictures("exact")
    assert outcome(run)[:3] == ("done", count, 0)


class Diverging(PieceMixer):
    """One evaluation is not finite however often it is tried: the third one of the level, in pass 1 or 2."""

    def __init__(self, in_gradient: bool) -> None:
        super().__init__()
        self.in_gradient = in_gradient
        self.points: list[bytes] = []

    def piece_sums(self, settings: SolverSettings, keep: Keep, task: PieceTask) -> PieceSums:
        found = super().piece_sums(settings, keep, task)
        assert isinstance(found, PieceSums)
        assert task.crop is not None
        if task.index == 0 and (point := decoded(task.crop).tobytes()) not in self.points:
            self.points.append(point)
        if self.in_gradient or len(self.points) != 3:
            return found
        return dataclasses.replace(found, content_errors=dict.fromkeys(found.content_errors, np.nan))

    def piece_gradient(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, task: PieceTask
    ) -> PieceGradient:
        found = super().piece_gradient(settings, keep, slopes, task)
        assert isinstance(found, PieceGradient)
        if self.in_gradient and len(self.points) == 3:
            return spoiled(found, np.inf)
        return found


@pytest.mark.parametrize("in_gradient", [False, True])
@pytest.mark.parametrize("kind", ["exact", "exact cg", "exact adam"])
def test_a_step_that_diverges_is_taken_back_and_the_count_outlives_a_kill(
    tmp_path: Path, kind: str, in_gradient: bool
) -> None:
    path = write_job(tmp_path, kind)
    worker = Diverging(in_gradient)
    refused = 0

    def listen(event: Event) -> None:
        nonlocal refused
        if isinstance(event, StepTaken) and not event.accepted:
            refused += 1
            raise Halt  # the count is in the optimizer's state by now, and not yet in the journal

    with pytest.raises(Halt):
        go_on(path, worker, listen)
    assert refused == 1
    run = go_on(path, worker_for(kind))
    assert outcome(run) == ("done", 2, 0, 1)
    assert np.isfinite(np.fromfile(run.canvas(0), "<f4")).all()
