"""What every executor must do, tried on each of them with the real solver on tiny tiles."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

import tilefarm
from tests import standins
from tests.execute.conftest import Work, tile
from tilefarm.errors import TileFailedError
from tilefarm.execute.assignment import IN_FLIGHT
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Batch, BatchDone, Executor, Progress

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Case:
    """An executor under test."""

    executor: Executor
    workers: int
    ahead: int
    """Batches that it may hold at a time."""
    trouble: Path
    """The folder in which its workers look for mishaps."""


@pytest.fixture(scope="module", params=["local", "ray-1", "ray-2"])
def case(
    request: pytest.FixtureRequest, work: Work, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    trouble = tmp_path_factory.mktemp("trouble")
    make = standins.make_troubled(trouble)
    if request.param == "local":
        local = LocalExecutor(make(work.weights, "cpu", 1))
        yield Case(local, 1, 1, trouble)
        local.close()
        return
    workers = int(request.param[-1])
    from tilefarm.execute import cluster

    cluster.start_local(2, "cpu")
    try:
        import ray

        from tilefarm.execute.farm import RayExecutor
        from tilefarm.execute.layout import alike

        # the workers cannot import this folder
        ray.cloudpickle.register_pickle_by_value(standins)  # type: ignore[no-untyped-call]
        # one worker with two threads, or two with one each: the results must not differ
        farm = RayExecutor(make, work.weights, alike(workers, 2 // workers, 0))
        yield Case(farm, workers, workers * IN_FLIGHT, trouble)
        farm.close()
    finally:
        cluster.leave()


def ignore(progress: Progress) -> None:
    """For work whose progress does not matter."""


def solved(case: Case, work: Work, batches: tuple[Batch, ...]) -> list[BatchDone]:
    return list(case.executor.solve(work.settings, work.targets, iter(batches), ignore))


def assert_right(done: list[BatchDone], work: Work, batches: tuple[Batch, ...]) -> None:
    """Every batch once, under its index, its tiles in order and equal to the solver's own, bit for bit."""
    assert sorted(batch.index for batch in done) == [batch.index for batch in batches]
    asked = {batch.index: [task.index for task in batch.tasks] for batch in batches}
    for batch in done:
        assert [solution.index for solution in batch.solutions] == asked[batch.index]
        for solution in batch.solutions:
            expected = work.solutions[solution.index]
            assert solution.image.tobytes() == expected.image.tobytes()
            assert (solution.first, solution.last) == (expected.first, expected.last)
            assert solution.iterations == expected.iterations
            assert not np.array_equal(solution.image, tile(solution.index).image)


def test_workers_describe_themselves(case: Case) -> None:
    infos = case.executor.workers
    assert len(infos) == case.workers == len({info.process for info in infos})
    for info in infos:
        assert (info.device, info.gpu_bytes, info.version) == ("cpu", None, tilefarm.__version__)
        assert info.threads * case.workers <= 2
        assert psutil.pid_exists(info.process)
    here = os.getpid() in {info.process for info in infos}
    assert here == isinstance(case.executor, LocalExecutor)


def test_every_batch_comes_back_once_bit_for_bit(case: Case, work: Work) -> None:
    done = solved(case, work, work.batches)
    assert_right(done, work, work.batches)
    assert {batch.attempts for batch in done} == {1}


def test_measurements_are_equal(case: Case, work: Work) -> None:
    found = list(case.executor.measure(work.settings, iter(work.pieces)))
    assert sorted(part.index for part in found) == [piece.index for piece in work.pieces]
    for part in found:
        expected = work.measurements[part.index]
        assert part.positions == expected.positions
        assert part.squares == expected.squares
        assert part.styles.keys() == expected.styles.keys()
        for layer, sums in part.styles.items():
            wanted = expected.styles[layer]
            assert sums.products.dtype == np.float64
            assert sums.products.tobytes() == wanted.products.tobytes()
            assert sums.sums.tobytes() == wanted.sums.tobytes()
            assert sums.weights.tobytes() == wanted.weights.tobytes()


def test_batches_are_asked_for_one_by_one(case: Case, work: Work) -> None:
    taken = 0

    def source() -> Iterator[Batch]:
        nonlocal taken
        for batch in work.batches:
            taken += 1
            yield batch

    most = 0
    for finished, _ in enumerate(case.executor.solve(work.settings, work.targets, source(), ignore)):
        assert taken - finished <= case.ahead + 1
        most = max(most, taken - finished)
    assert taken == len(work.batches)
    assert most >= case.ahead  # and nobody waits for work either


def test_nothing_to_do(case: Case, work: Work) -> None:
    assert solved(case, work, ()) == []
    assert list(case.executor.measure(work.settings, ())) == []


def test_a_failed_tile_is_done_again(case: Case, work: Work) -> None:
    batches = work.batches[:5]
    for name in ("fail-3-a", "fail-3-b", "fail-1-a"):
        (case.trouble / name).touch()
    done = solved(case, work, batches)
    assert_right(done, work, batches)
    assert {batch.index: batch.attempts for batch in done} == {0: 1, 1: 2, 2: 1, 3: 3, 4: 1}


def test_a_tile_that_fails_three_times_ends_the_work(case: Case, work: Work) -> None:
    for name in ("fail-4-a", "fail-4-b", "fail-4-c", "fail-4-d"):
        (case.trouble / name).touch()
    with pytest.raises(TileFailedError, match=r"tile 4 failed 3 times.*mishap fail-4-c") as caught:
        solved(case, work, work.batches)
    assert caught.value.exit_code == 4
    assert [path.name for path in case.trouble.iterdir()] == ["fail-4-d"]
    (case.trouble / "fail-4-d").unlink()
    # the executor itself is as good as before
    assert_right(solved(case, work, work.batches[:3]), work, work.batches[:3])


def test_a_tile_with_numbers_that_went_wrong_is_done_again_and_counted(case: Case, work: Work) -> None:
    batches = work.batches[:5]
    for name in ("spoil-3-a", "spoil-3-b", "spoil-1-a"):
        (case.trouble / name).touch()
    done = solved(case, work, batches)
    assert {batch.index: batch.attempts for batch in done} == {0: 1, 1: 2, 2: 1, 3: 3, 4: 1}
    # a worker tells with its next good tile; what it has not told by the end of a pass, in the next one
    again = solved(case, work, batches)
    assert sum(solution.gone_wrong for batch in done + again for solution in batch.solutions) == 3
    assert_right(done, work, batches)


def test_a_tile_that_is_never_finite_ends_the_work(case: Case, work: Work) -> None:
    for name in ("spoil-4-a", "spoil-4-b", "spoil-4-c"):
        (case.trouble / name).touch()
    with pytest.raises(TileFailedError, match=r"tile 4 failed 3 times.*not finite numbers"):
        solved(case, work, work.batches)


def test_a_picture_without_a_finite_loss_is_named(case: Case, work: Work) -> None:
    bad = tile(6)
    bad.image[5, 5] = np.nan
    with pytest.raises(TileFailedError, match=r"tile 6 failed 3 times.*not a finite number"):
        solved(case, work, (work.batches[0], Batch(1, (bad,))))


def test_a_piece_that_cannot_be_measured_is_named(case: Case, work: Work) -> None:
    piece = work.pieces[0]
    wrong = replace(piece, index=9, crop=piece.crop[:8, :8])
    with pytest.raises((TileFailedError, ValueError), match=r"piece 9 failed 3 times|must be multiples"):
        list(case.executor.measure(work.settings, [wrong]))


def test_progress_is_reported_during_a_solve(case: Case, work: Work) -> None:
    seen: list[Progress] = []
    iterations = 25
    while not seen:  # a machine so fast that it is done before anyone asks gets more to do
        assert iterations < 100_000
        iterations *= 2
        long = Batch(3, (tile(5, iterations),))
        list(case.executor.solve(work.settings, work.targets, [long], seen.append))
    assert {progress.batch for progress in seen} == {3}
    steps = [progress.iteration for progress in seen]
    assert steps == sorted(steps)
    assert 1 <= steps[0] <= steps[-1] <= iterations
    assert all(np.isfinite(progress.loss) and progress.loss > 0 for progress in seen)


def test_peak_memory_is_each_workers_own(case: Case) -> None:
    peaks = case.executor.peak_rss()
    assert len(peaks) == case.workers
    for peak, info in zip(peaks, case.executor.workers, strict=True):
        now = psutil.Process(info.process).memory_info().rss
        assert 0.5 * now < peak < 64 * 2**30


def test_a_killed_worker_loses_nothing(case: Case, work: Work) -> None:
    if isinstance(case.executor, LocalExecutor):
        pytest.skip("the worker is this process")
    (case.trouble / "hang-2").touch()
    hanging = case.trouble / "hanging-2"
    killed: list[int] = []

    def kill_when_hanging() -> None:
        end = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < end:
            if hanging.exists() and (process := hanging.read_text()):
                killed.append(int(process))
                os.kill(killed[0], signal.SIGKILL)
                return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_when_hanging)
    killer.start()
    done = solved(case, work, work.batches)
    killer.join()
    assert killed
    assert killed[0] in {info.process for info in case.executor.workers}
    assert_right(done, work, work.batches)
    attempts = {batch.index: batch.attempts for batch in done}
    assert attempts[2] == 2
    # what was waiting in line behind it failed too, and nothing else did
    assert sum(count - 1 for count in attempts.values()) <= IN_FLIGHT
    assert max(attempts.values()) == 2


def test_a_restarted_worker_goes_on(case: Case, work: Work) -> None:
    """All workers answer again after `test_a_killed_worker_loses_nothing`."""
    assert_right(solved(case, work, work.batches), work, work.batches)
    assert len(case.executor.peak_rss()) == case.workers


def test_closing_twice(case: Case) -> None:
    processes = [info.process for info in case.executor.workers if info.process != os.getpid()]
    case.executor.close()
    case.executor.close()
    end = time.monotonic() + DEADLINE_SECONDS
    while any(psutil.pid_exists(process) for process in processes):
        assert time.monotonic() < end, "a worker outlived its executor"
        time.sleep(0.05)
