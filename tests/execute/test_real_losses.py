"""Real workers of Ray that are killed, stopped, poisoned and starved: the bytes are those of a quiet run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray

from tests import standins
from tests.standins import Mixer, Troubled
from tilefarm.errors import ClusterError, TileFailedError
from tilefarm.events import WorkerChanged
from tilefarm.execute import cluster
from tilefarm.execute.call import WorkFailedError
from tilefarm.execute.deadlines import Patience
from tilefarm.execute.farm import RayExecutor
from tilefarm.execute.joining import MOST_DEATHS
from tilefarm.execute.layout import alike
from tilefarm.execute.protocol import Batch, Worker
from tilefarm.solve.contract import LevelTargets, RegionMoments, SolverSettings, Weights
from tilefarm.solve.tasks import TileTask

WAIT_SECONDS = 60.0
SETTINGS = SolverSettings("vgg19", "max", "float32", (), (), 1.0, 1.0, 0.0, 5)
MOMENTS = RegionMoments(np.zeros((1, 2), np.float32), np.ones((1, 2, 2), np.float32))
TARGETS = LevelTargets("test", {"relu1_1": MOMENTS}, {})
WEIGHTS = Weights({}, "caffe", "")
HASTY = Patience(least=4, unknown=8, unknown_per_megapixel=0)
"""For stand-ins, which have finished long before."""
TILES = 12

Make = Callable[[Weights, str, int], Worker]


def batches() -> list[Batch]:
    random = np.random.default_rng(4)
    pictures = random.random((TILES, 2, 16, 16, 3), dtype=np.float32)
    return [
        Batch(index, (TileTask(index, pictures[index, 0], pictures[index, 1], 3),)) for index in range(TILES)
    ]


EXPECTED = {batch.index: Mixer().solve(SETTINGS, TARGETS, batch)[0].image.tobytes() for batch in batches()}


@pytest.fixture(scope="module", autouse=True)
def own_ray() -> Iterator[None]:
    """One for all tests: their farms end without ending it."""
    cluster.start_local(16, "cpu")
    # the workers cannot import this folder
    ray.cloudpickle.register_pickle_by_value(standins)  # type: ignore[no-untyped-call]
    yield
    ray.cloudpickle.unregister_pickle_by_value(standins)  # type: ignore[no-untyped-call]
    cluster.leave()


class Farm:
    """A farm in that Ray, and what it told."""

    def __init__(self, make: Make, workers: int, patience: Patience | None = None) -> None:
        self.executor = RayExecutor(make, WEIGHTS, alike(workers, 1, 0), patience)
        self.told: list[WorkerChanged] = []
        self.executor.listen(self.told.append)

    def solve(self) -> dict[int, int]:
        """Attempts by tile; all must have the bytes of a quiet run."""
        attempts = {}
        for done in self.executor.solve(SETTINGS, TARGETS, iter(batches()), lambda progress: None):
            assert done.solutions[0].image.tobytes() == EXPECTED[done.index]
            assert done.index not in attempts
            attempts[done.index] = done.attempts
        assert sorted(attempts) == list(range(TILES))
        return attempts

    def changes(self) -> list[str]:
        return [event.change for event in self.told]


@pytest.fixture
def farm_of() -> Iterator[Callable[..., Farm]]:
    """Makes a `Farm`."""
    farms: list[Farm] = []

    def start(make: Make, workers: int, patience: Patience | None = None) -> Farm:
        farms.append(Farm(make, workers, patience))
        return farms[-1]

    yield start
    for farm in farms:
        for actor in farm.executor._fleet.actors:
            ray.kill(actor)


def make_in(folder: Path) -> Make:
    return lambda weights, device, threads: Troubled(Mixer(), folder)


def hit_when_hanging(folder: Path, tile: int, number: signal.Signals) -> threading.Thread:
    """Sends the signal to the process that hangs with this tile, as soon as there is one."""

    def wait_and_hit() -> None:
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            hanging = folder / f"hanging-{tile}"
            if hanging.exists() and (process := hanging.read_text()):
                os.kill(int(process), number)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=wait_and_hit)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_hit_in_mid_tile(
    tmp_path: Path, farm_of: Callable[..., Farm], number: signal.Signals
) -> None:
    farm = farm_of(make_in(tmp_path), 2, HASTY)
    (tmp_path / "hang-5").touch()
    hitter = hit_when_hanging(tmp_path, 5, number)
    attempts = farm.solve()
    hitter.join()
    process = int((tmp_path / "hanging-5").read_text())
    assert attempts[5] in (1, 2), "the other worker's copy may be done before the loss is noticed"
    assert max(attempts.values()) <= 2
    end = time.monotonic() + WAIT_SECONDS
    while "back" not in farm.changes():  # a later pass finds the worker down, or back
        assert time.monotonic() < end
        farm.solve()
    expected = "lost" if number == signal.SIGKILL else "hung"
    assert farm.changes()[0] == expected
    assert not psutil.pid_exists(process)
    assert len(farm.executor.peak_rss()) == 2


def test_peak_memory_is_not_waited_for_where_a_worker_is_stopped(
    tmp_path: Path, farm_of: Callable[..., Farm], monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = farm_of(make_in(tmp_path), 2)
    monkeypatch.setattr("tilefarm.execute.farm.ANSWER_SECONDS", 1.0)
    process = farm.executor.workers[0].process
    os.kill(process, signal.SIGSTOP)
    begin = time.monotonic()
    assert len(farm.executor.peak_rss()) == 1
    assert time.monotonic() - begin < 5
    os.kill(process, signal.SIGCONT)
    assert set(farm.solve().values()) == {1}
    assert farm.told == []


def test_a_worker_whose_process_ends_at_every_start_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself would start it for ever."""
    monkeypatch.setattr("tilefarm.execute.farm.leave", lambda: None)  # the other tests need it yet
    starts = tmp_path / "starts"

    def make(weights: Weights, device: str, threads: int) -> Worker:
        with starts.open("ab", buffering=0) as file:
            file.write(b"x")
        os._exit(1)

    with pytest.raises(ClusterError, match="its process ended 5 times; see Ray's logs on its machine"):
        RayExecutor(make, WEIGHTS, alike(1, 1, 0), HASTY)
    assert len(starts.read_bytes()) == MOST_DEATHS, "asking again too early is no start"


def test_a_worker_that_always_fails_is_set_aside(tmp_path: Path, farm_of: Callable[..., Farm]) -> None:
    class Bad(Mixer):
        def solve(self, *arguments: Any) -> Any:
            raise RuntimeError("this machine is bad")

    def make(weights: Weights, device: str, threads: int) -> Worker:
        try:
            (tmp_path / "bad").touch(exist_ok=False)
        except FileExistsError:
            return SlowMixer()
        return Bad()

    class SlowMixer(Mixer):
        def solve(self, *arguments: Any) -> Any:
            time.sleep(0.05)  # the bad one gets its share
            return super().solve(*arguments)

    farm = farm_of(make, 2)
    assert max(farm.solve().values()) == 2
    assert farm.changes() == ["set aside"]
    assert (farm.told[0].left, "this machine is bad" in farm.told[0].reason) == (1, True)


def test_a_poisoned_tile_stops_the_job_with_its_inputs(tmp_path: Path, farm_of: Callable[..., Farm]) -> None:
    class Poisoned(Mixer):
        def solve(self, settings: Any, targets: Any, batch: Any) -> Any:
            if batch.index == 4:
                (tmp_path / str(os.getpid())).touch()
                raise RuntimeError("poison")
            return super().solve(settings, targets, batch)

    farm = farm_of(lambda weights, device, threads: Poisoned(), 3)
    with pytest.raises(TileFailedError, match=r"^tile 4 failed 3 times.*poison$") as caught:
        farm.solve()
    assert len(list(tmp_path.iterdir())) == 3, "three different workers"
    assert isinstance(caught.value, WorkFailedError)
    (solution,) = caught.value.call.on(Mixer())
    assert solution.image.tobytes() == EXPECTED[4]


def test_a_tile_that_kills_its_worker_unless_it_has_the_machine_to_itself(
    tmp_path: Path, farm_of: Callable[..., Farm]
) -> None:
    class Hungry(Mixer):
        def solve(self, settings: Any, targets: Any, batch: Any) -> Any:
            mine = tmp_path / f"busy-{os.getpid()}"
            mine.touch()
            time.sleep(0.1)
            others = [int(path.name[5:]) for path in tmp_path.glob("busy-*") if path != mine]
            if batch.index == 6 and any(map(is_there, others)):
                os.kill(os.getpid(), signal.SIGKILL)
            found = super().solve(settings, targets, batch)
            mine.unlink()
            return found

    def is_there(process: int) -> bool:
        return Path(f"/proc/{process}").exists()

    farm = farm_of(lambda weights, device, threads: Hungry(), 3)
    attempts = farm.solve()
    assert attempts[6] <= 3
    end = time.monotonic() + WAIT_SECONDS
    while "lost" not in farm.changes():  # a copy that had the machine to itself may have been done before
        assert time.monotonic() < end
        farm.solve()
