"""A worker goes on with its next tile while it sends the result of the last."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import ray

from scripts.benchmarks.busy import BusyWorker
from scripts.benchmarks.workload import default_settings
from tilefarm.execute import cluster
from tilefarm.execute.actor import Actor
from tilefarm.execute.assignment import IN_FLIGHT
from tilefarm.execute.call import Call
from tilefarm.execute.farm import RayExecutor
from tilefarm.execute.layout import alike
from tilefarm.execute.protocol import Batch, Progress, Worker
from tilefarm.solve.contract import LevelTargets, Losses, Picture, SolverSettings, Weights
from tilefarm.solve.tasks import TileSolution, TileTask

DEADLINE_SECONDS = 60.0
SETTINGS = default_settings("float32")
TARGETS = LevelTargets("test", {}, {})
WEIGHTS = Weights({}, "caffe", "")


def batch(index: int) -> Batch:
    pixels = np.zeros((2, 2, 3), dtype=np.float32)
    return Batch(index, (TileTask(index, pixels, pixels, 1),))


def solution(index: int, image: Picture) -> tuple[TileSolution, ...]:
    return (TileSolution(index, image, Losses(1, 1, 0, 0), Losses(1, 1, 0, 0), 1, 0, 0.0),)


class SlowToSend(np.ndarray[Any, np.dtype[np.float32]]):
    """A picture that cannot be sent before the next tile is begun."""

    next_one: Path

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        end = time.monotonic() + DEADLINE_SECONDS
        while not self.next_one.exists():
            if time.monotonic() > end:
                raise TimeoutError(f"tile {self.next_one.name} was not begun while the one before was sent")
            time.sleep(0.005)
        return np.zeros, (self.shape, np.float32)


def make_worker_in(folder: Path, last: int) -> Callable[[Weights, str, int], Worker]:
    class Telling(BusyWorker):
        def solve(
            self, settings: SolverSettings, targets: LevelTargets, batch: Batch
        ) -> tuple[TileSolution, ...]:
            (folder / str(batch.index)).touch()
            image = batch.tasks[0].image.view(SlowToSend)
            image.next_one = folder / str(min(batch.index + 1, last))
            return solution(batch.index, image)

    return lambda weights, device, threads: Telling()


def test_the_next_tile_is_begun_while_a_result_is_sent(tmp_path: Path) -> None:
    cluster.start_local(1, "cpu")
    # the worker cannot import this folder
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
    try:
        farm = RayExecutor(make_worker_in(tmp_path, 4), WEIGHTS, alike(1, 1, 0))
        done = list(farm.solve(SETTINGS, TARGETS, map(batch, range(5)), ignore))
        assert sorted(one.solutions[0].index for one in done) == [0, 1, 2, 3, 4]
        assert [one.attempts for one in done] == [1] * 5, "a result that waits in vain is a failure"
        farm.close()
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
        cluster.leave()


def ignore(progress: Progress) -> None:
    """For work whose progress does not matter."""


def test_one_thread_does_all_the_work() -> None:
    """Networks, their caches and OpenMP's threads belong to the thread that uses them."""
    threads: set[int] = set()
    at_work = threading.Lock()

    class Watched(BusyWorker):
        def solve(
            self, settings: SolverSettings, targets: LevelTargets, batch: Batch
        ) -> tuple[TileSolution, ...]:
            assert at_work.acquire(blocking=False), "two calls work at a time"
            threads.add(threading.get_ident())
            at_work.release()
            return solution(batch.index, batch.tasks[0].image)

    def make(weights: Weights, device: str, count: int) -> Worker:
        threads.add(threading.get_ident())
        return Watched()

    actor: Any = Actor(make, "cpu", 1)
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        calls = [
            pool.submit(actor.do, WEIGHTS, TARGETS, Call("solve", SETTINGS, batch(index)))
            for index in range(50)
        ]
        assert [call.result()[0].index for call in calls] == list(range(50))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
