"""L-BFGS whose vectors lie with the workers: the bits of vectors in files, whatever is lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pieces import PieceMixer
from tilefarm import faults
from tilefarm.canvas.vectors import FileVectors
from tilefarm.events import WorkEvent, WorkReturned
from tilefarm.exact import core_lbfgs
from tilefarm.exact.core_lbfgs import MOST_LOSSES, CoreLbfgs
from tilefarm.exact.cores import CoreVectors, neighbours, reversed_halos
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.exact.evaluate_cores import CoreEvaluator
from tilefarm.exact.lbfgs import FileLbfgs
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Keep
from tilefarm.geometry import Size
from tilefarm.plan.halo import ReceptiveField, partition
from tilefarm.solve.contract import LevelTargets, RegionMoments, SolverSettings
from tilefarm.solve.tasks import Derivatives, MissingState, PieceGradient, PieceSums, PieceTask

SIZE = Size(70, 45)
HISTORY, STEPS = 3, 8
KEEP = Keep(2, 99)
"""The graphs of two pieces alone: the others run again in pass 2."""
SETTINGS = SolverSettings(
    "vgg19", "max", "float32", (("relu2_2", 1.0),), (("relu1_1", 1.0),), 1.0, 1.0, 0.5, 5
)
MOMENTS = RegionMoments(np.ones((1, 2), np.float32), np.eye(2, dtype=np.float32)[None])
TARGETS = LevelTargets("key", {"relu1_1": MOMENTS}, {"relu2_2": 1.0})


GONE = "the vectors of piece 0 are gone with their worker"


class Forgetful(LocalExecutor):
    """Loses what its worker has at some of the passes over cores, counted from 1."""

    def __init__(self, *losses: int) -> None:
        super().__init__(PieceMixer())
        self._lost_at = losses
        self.passes = 0

    def lose_at(self, *losses: int) -> None:
        self._lost_at = losses

    def with_cores(self, *arguments: Any) -> Iterator[Any]:
        self.passes += 1
        if self.passes in self._lost_at:
            self._worker = LocalExecutor(PieceMixer())._worker
            return iter([MissingState(0)])
        return super().with_cores(*arguments)


def start_of(size: Size) -> np.ndarray:
    return np.random.default_rng(1).random((size.height, size.width, 3), dtype=np.float32)


def picture_of(folder: Path, size: Size = SIZE, core: int = 32, halo: int = 8) -> WholePicture:
    content = np.random.default_rng(2).random((size.height, size.width, 3), dtype=np.float32)
    content.tofile(folder / "content")
    pieces = tuple(partition(size, core, ReceptiveField(1, 0, halo)))
    return WholePicture("key", size, pieces, folder / "content")


def in_files(folder: Path, picture: WholePicture, solver: SolverSettings = SETTINGS) -> FileLbfgs:
    executor = LocalExecutor(PieceMixer())
    evaluate = WholeEvaluator(executor, solver, TARGETS, picture, KEEP, lambda done, total: None)
    return FileLbfgs(folder / "files", FileVectors(picture.cut), HISTORY, evaluate)


def at_workers(
    folder: Path,
    picture: WholePicture,
    executor: LocalExecutor | None = None,
    solver: SolverSettings = SETTINGS,
    tell: Callable[[str], None] = lambda note: None,
    clock: Callable[[], float] = lambda: 0.0,  # keeping takes no time, and so is done all the time
) -> CoreLbfgs:
    used = LocalExecutor(PieceMixer()) if executor is None else executor
    evaluate = CoreEvaluator(used, solver, TARGETS, picture, KEEP, lambda done, total: None)
    cores = CoreVectors(used, solver, picture)
    return CoreLbfgs(folder / "cores", cores, HISTORY, evaluate, tell, clock)


def steps(optimizer: FileLbfgs, count: int = STEPS) -> None:
    while optimizer.state.iteration + optimizer.state.rollbacks < count:
        assert optimizer.step()


def go(optimizer: FileLbfgs, count: int = STEPS) -> None:
    optimizer.start(start_of(SIZE).tofile)
    steps(optimizer, count)


def result(optimizer: FileLbfgs) -> tuple[tuple[float, ...], bytes]:
    while not optimizer.keep():
        steps(optimizer)
    return optimizer.state.losses, optimizer.point.read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[float, ...], bytes]:
    folder = tmp_path_factory.mktemp("expected")
    optimizer = in_files(folder, picture_of(folder))
    go(optimizer)
    assert optimizer.state.iteration > HISTORY + 1, "the history is full"
    assert optimizer.state.rollbacks > 0
    return result(optimizer)


@given(
    st.integers(1, 60), st.integers(1, 60), st.sampled_from([8, 16, 33]), st.integers(0, 20), st.booleans()
)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_bits_of_files(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, core: int, halo: int, tv: bool
) -> None:
    folder, size = tmp_path_factory.mktemp("sizes"), Size(width, height)
    picture = picture_of(folder, size, core, halo)
    solver = replace(SETTINGS, tv_weight=0.5 if tv else 0.0)
    pair = [in_files(folder, picture, solver), at_workers(folder, picture, solver=solver)]
    for optimizer in pair:
        optimizer.start(start_of(size).tofile)
        steps(optimizer, 5)
    assert result(pair[0]) == result(pair[1])


@pytest.mark.parametrize("seldom", [False, True])
@pytest.mark.parametrize("at", [1, 3, 6, 9, 20, 31, 48])
def test_what_is_lost_is_done_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: tuple[tuple[float, ...], bytes],
    at: int,
    seldom: bool,
) -> None:
    """From the last step, or where nothing but the start is kept from there."""
    executor, told = Forgetful(at, at + 4), list[str]()
    clock = iter(range(10**9)).__next__ if seldom else lambda: 0.0
    optimizer = at_workers(tmp_path, picture_of(tmp_path), executor, tell=told.append, clock=clock)
    if seldom:
        monkeypatch.setattr(core_lbfgs, "KEEP_SHARE", 1e-9)
    go(optimizer)
    assert executor.passes > at + 4
    assert not any("stay with the driver" in note for note in told)
    assert result(optimizer) == expected


def test_nothing_but_losses_bring_the_vectors_back(
    tmp_path: Path, expected: tuple[tuple[float, ...], bytes]
) -> None:
    told: list[str] = []
    executor = Forgetful(*range(30, 1000))
    optimizer = at_workers(tmp_path, picture_of(tmp_path), executor, tell=told.append)
    go(optimizer)
    assert told[0] == f"{GONE}; from now on the optimizer's vectors stay with the driver"
    assert told[1].startswith(f"{GONE}; the optimizer goes back from step ")
    assert len(told) == 2
    assert executor.passes == 29 + MOST_LOSSES
    assert result(optimizer) == expected


class ShortOfMemory(PieceMixer):
    """Drops what it keeps for speed at some of the calls of a pass, as a GPU's worker does."""

    def __init__(self, *calls: int) -> None:
        super().__init__()
        self._calls, self.count = calls, 0

    def _is_short(self) -> bool:
        self.count += 1
        return self.count in self._calls

    def piece_sums(self, solver: SolverSettings, keep: Keep, task: PieceTask) -> PieceSums | MissingState:
        if task.content is None and self._is_short():
            return MissingState(task.index)
        return super().piece_sums(solver, keep, task)

    def piece_gradient(
        self, solver: SolverSettings, keep: Keep, slopes: Derivatives, task: PieceTask
    ) -> PieceGradient | MissingState:
        if task.content is None and self._is_short():
            return MissingState(task.index)
        return super().piece_gradient(solver, keep, slopes, task)


def test_a_worker_that_is_short_of_memory_has_lost_nothing(
    tmp_path: Path, expected: tuple[tuple[float, ...], bytes]
) -> None:
    """The pass is done again; no vector is handed out anew, and none comes back for good."""
    worker, notes = ShortOfMemory(5, 9, 16, 23, 40, 57), list[str]()
    optimizer = at_workers(tmp_path, picture_of(tmp_path), LocalExecutor(worker), tell=notes.append)
    go(optimizer)
    assert worker.count > 57
    assert notes == []
    assert result(optimizer) == expected


def test_losses_before_there_is_anything_kept(
    tmp_path: Path, expected: tuple[tuple[float, ...], bytes]
) -> None:
    told: list[str] = []
    optimizer = at_workers(tmp_path, picture_of(tmp_path), Forgetful(*range(1000)), tell=told.append)
    go(optimizer)
    assert told == [f"{GONE}; from now on the optimizer's vectors stay with the driver"]
    assert result(optimizer) == expected


class Crash(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("back", [at_workers, in_files], ids=["workers", "files"])
@pytest.mark.parametrize("time", [1, 3])
@pytest.mark.parametrize(
    "point", ["exact: cores brought", "exact: next state written", "exact: vectors replaced"]
)
def test_a_crash_while_vectors_are_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: tuple[tuple[float, ...], bytes],
    point: str,
    time: int,
    back: Callable[..., FileLbfgs],
) -> None:
    """Resumed by either kind."""
    reached = 0

    def crash(name: str) -> None:
        nonlocal reached
        reached += name == point
        if name == point and reached == time:
            raise Crash

    picture = picture_of(tmp_path)
    optimizer = at_workers(tmp_path, picture)
    monkeypatch.setattr(faults, "reached", crash)
    with pytest.raises(Crash):
        go(optimizer)
    monkeypatch.undo()
    (tmp_path / "cores").rename(tmp_path / "files")
    (tmp_path / "files").rename(tmp_path / ("cores" if back is at_workers else "files"))
    again = back(tmp_path, picture)
    if not again.resume():
        assert (point, time) == ("exact: cores brought", 1), "nothing else is lost"
        again.start(start_of(SIZE).tofile)
    steps(again)
    assert result(again) == expected
    assert not [*tmp_path.rglob("*.new"), *tmp_path.rglob("next.json")]


def test_half_replaced_vectors_are_put_in_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: tuple[tuple[float, ...], bytes]
) -> None:
    """A crash between two of the renames."""
    picture = picture_of(tmp_path)
    optimizer = at_workers(tmp_path, picture)
    go(optimizer, 3)
    replaced = Path.replace
    calls = 0

    def crashing(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += self.suffix == ".new"
        if calls == 3:
            raise Crash
        return replaced(self, target)

    monkeypatch.setattr(Path, "replace", crashing)
    with pytest.raises(Crash):
        steps(optimizer)
    monkeypatch.undo()
    again = at_workers(tmp_path, picture)
    assert again.resume()
    assert again.state.iteration + again.state.rollbacks == 4
    steps(again)
    assert result(again) == expected


def test_keeping_takes_a_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock takes a second, so keeping takes one; then nothing is kept for 1 / share."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    kept: list[int] = []
    monkeypatch.setattr(core_lbfgs, "KEEP_SHARE", 0.25)
    optimizer = at_workers(tmp_path, picture_of(tmp_path), clock=clock)
    original = optimizer._keep

    def keep(cores: CoreVectors) -> None:
        kept.append(optimizer.state.iteration + optimizer.state.rollbacks)
        original(cores)

    monkeypatch.setattr(optimizer, "_keep", keep)
    go(optimizer)
    assert kept == [0, 4, 8]


def test_little_goes_to_the_driver_and_back(tmp_path: Path) -> None:
    """Per evaluation the parts of neighbours: of a point and of a gradient as much."""
    picture = picture_of(tmp_path)
    optimizer = at_workers(tmp_path, picture, clock=iter(range(10**6)).__next__)
    evaluate = optimizer._evaluator
    optimizer.start(start_of(SIZE).tofile)
    optimizer.step()
    traffic = evaluate.traffic
    cut = [(piece.core, piece.crop) for piece in picture.pieces]
    shares = sum(crop.size.pixels for _, crop in cut) - SIZE.pixels
    above = sum(
        (crop.bottom - core.top + (core.top > 0)) * (crop.right - core.left + (core.left > 0))
        for core, crop in cut
    )
    assert traffic.between == 12 * (shares + above - SIZE.pixels)
    assert traffic.gradients_back == 0
    assert traffic.sums_out == 0, "contents stay where they are"
    assert len(picture.pieces) == 4 + 2
    assert traffic.sums_back == 2 * 8 * (1 + 2 + 3), "of four pieces and of two"
    assert optimizer.state.traffic.vectors > 0


def test_halos_are_the_same_from_both_sides() -> None:
    pieces = tuple(partition(Size(100, 80), 32, ReceptiveField(1, 5, 9)))
    halos = neighbours([piece.core for piece in pieces], [piece.crop for piece in pieces])
    back = reversed_halos(halos)
    for index, piece in enumerate(pieces):
        area = piece.core.size.pixels + sum(box.size.pixels for _, box in back[index])
        assert area == piece.crop.size.pixels, "core and parts make up the crop"
        assert index not in [other for other, _ in halos[index]]
    assert sum(map(len, halos)) == sum(map(len, back))


def test_a_loss_at_the_last_moment(tmp_path: Path, expected: tuple[tuple[float, ...], bytes]) -> None:
    """When the result is fetched, steps must be taken again; none of them may be left out."""
    executor = Forgetful()
    optimizer = at_workers(tmp_path, picture_of(tmp_path), executor, clock=iter(range(10**9)).__next__)
    go(optimizer)
    before = optimizer.state.iteration
    executor.lose_at(executor.passes + 1)
    assert not optimizer.keep()
    assert optimizer.state.iteration < before
    steps(optimizer)
    assert result(optimizer) == expected


def test_what_is_done_with_vectors_is_no_work_of_the_network(tmp_path: Path) -> None:
    """The pixels a second that people are shown are those of the passes."""
    told: list[WorkEvent] = []
    executor = LocalExecutor(PieceMixer())
    executor.listen(lambda change: None, told.append)
    picture = picture_of(tmp_path)
    optimizer = at_workers(tmp_path, picture, executor)
    optimizer.start(start_of(SIZE).tofile)
    steps = sum(event.pixel_steps for event in told if isinstance(event, WorkReturned))
    assert steps == 2 * SIZE.pixels
