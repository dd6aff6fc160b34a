"""Unequal machines of a real cluster that join and leave while a run goes on: the picture of one machine."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ray._private.internal_api import node_stats
from ray.cluster_utils import Cluster

from tests import pieces, standins
from tests.pieces import PieceMixer
from tests.small_cluster import small_cluster
from tests.standins import opener
from tilefarm.driver import Opener, render, run_folder
from tilefarm.events import Event, PiecesProgress, TileFinished, WorkerChanged
from tilefarm.execute import cluster
from tilefarm.execute.farm import RayExecutor
from tilefarm.execute.open import ExecutorChoice
from tilefarm.execute.protocol import Batch, Worker, WorkerInfo
from tilefarm.execute.roll import Roll
from tilefarm.solve.contract import LevelTargets, RegionMoments, SolverSettings, Weights
from tilefarm.solve.tasks import TileTask
from tilefarm.spec.load import load_job

WAIT_SECONDS = 120.0
NEWCOMER = 2
"""Cores of the machine that joins."""
JOB = """
content: content.png
style: style.png
output: {path: out.png}
pyramid: {smallest: 256, iterations: [10]}
tiles: {size: 64, rounds: 2, iterations: 1}
objective: {content_layers: {relu2_2: 1}, style_layers: {relu1_1: 1}}
compute: {precision: float32, vectors: driver}
"""
SETTINGS = SolverSettings("vgg19", "max", "float32", (), (), 1.0, 1.0, 0.0, 5)
MOMENTS = RegionMoments(np.zeros((1, 2), np.float32), np.ones((1, 2, 2), np.float32))
TARGETS = LevelTargets("test", {"relu1_1": MOMENTS}, {})
METHODS = ("feathered", "exact")


class Held(PieceMixer):
    """Writes down its threads with each call. As long as there is a file `hold`, only a newcomer works."""

    def __init__(self, folder: Path, threads: int) -> None:
        super().__init__()
        self._folder = folder
        self._threads = threads

    def info(self) -> WorkerInfo:
        return replace(super().info(), threads=self._threads)

    def solve(self, *arguments: Any) -> Any:
        self._wait()
        return super().solve(*arguments)

    def piece_sums(self, *arguments: Any) -> Any:
        self._wait()
        return super().piece_sums(*arguments)

    def piece_gradient(self, *arguments: Any) -> Any:
        self._wait()
        return super().piece_gradient(*arguments)

    def _wait(self) -> None:
        end = time.monotonic() + WAIT_SECONDS
        hold = self._folder / "hold"
        while self._threads != NEWCOMER and hold.exists() and time.monotonic() < end:
            time.sleep(0.01)
        with (self._folder / "calls").open("ab", buffering=0) as file:
            file.write(f"{self._threads}\n".encode())
        if self._threads == NEWCOMER:
            hold.unlink(missing_ok=True)


class Machines:
    """Nodes of a cluster, each known by its number of cores."""

    def __init__(self, found: Cluster, folder: Path) -> None:
        self._cluster = found
        self._folder = folder
        self._nodes: dict[int, Any] = {}

    def add(self, cores: int) -> None:
        self._nodes[cores] = self._cluster.add_node(num_cpus=cores)

    def remove(self, cores: int, gently: bool = False) -> None:
        self._cluster.remove_node(self._nodes.pop(cores), allow_graceful=gently)

    def clear(self) -> None:
        for cores in [*self._nodes]:
            self.remove(cores, gently=True)

    def received(self, cores: int) -> int:
        """Bytes that the object store of a node has taken in so far."""
        node = self._nodes[cores]
        stats: Any = node_stats(  # type: ignore[no-untyped-call]
            node.node_ip_address, node.node_manager_port, include_memory_info=False
        )
        taken_in: int = stats.store_stats.cumulative_created_bytes
        return taken_in

    def calls(self) -> list[int]:
        """The cores of the machine that did it, of each call so far."""
        return [int(line) for line in (self._folder / "calls").read_text().split()]

    def open(self, weights: Weights, most: int) -> RayExecutor:
        cluster.join(self._cluster.address)
        folder = self._folder

        def make(weights: Weights, device: str, threads: int) -> Worker:
            return Held(folder, threads)

        roll = Roll(partial(cluster.nodes, 2, lambda free: 2), "auto", None)
        return RayExecutor(make, weights, roll.first(), None, roll)


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    """A cluster whose head does no work."""
    with small_cluster(0, standins, pieces, sys.modules[__name__]) as found:
        yield found


@pytest.fixture
def machines(head: Cluster, tmp_path: Path) -> Iterator[Machines]:
    """None but the head yet."""
    made = Machines(head, tmp_path)
    yield made
    made.clear()
    cluster.leave()


def picture(
    folder: Path,
    method: str,
    listen: Callable[[Event], None],
    open_executor: Opener,
    vectors: str = "driver",
) -> bytes:
    """The output of the job."""
    folder.mkdir()
    generator = np.random.default_rng(4)
    for name, side in (("content.png", (200, 150)), ("style.png", (60, 40))):
        Image.fromarray(generator.integers(0, 256, (*side, 3), dtype=np.uint8)).save(folder / name)
    path = folder / "job.yaml"
    path.write_text(f"method: {method}\n{JOB}".replace("driver", vectors))
    job = load_job(path)
    render(job, run_folder(job, folder / "runs"), ExecutorChoice("local"), listen, open_executor)
    return (folder / "out.png").read_bytes()


class Script:
    """Listens to a run and does things to it, one after the other, each when its time has come."""

    def __init__(self, *acts: tuple[Callable[[Event], bool], Callable[[], None]]) -> None:
        self._acts = [*acts]
        self.changes: list[tuple[int, str]] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, WorkerChanged):
            self.changes.append((event.worker, event.change))
        if self._acts and self._acts[0][0](event):
            self._acts.pop(0)[1]()

    @property
    def is_played(self) -> bool:
        return not self._acts


def after(events: int) -> Callable[[Event], bool]:
    """After so many tiles, or passes over pieces."""
    left = events

    def is_time(event: Event) -> bool:
        nonlocal left
        evaluated = isinstance(event, PiecesProgress) and event.doing == "evaluating"
        left -= evaluated or isinstance(event, TileFinished)
        return left <= 0

    return is_time


def when(change: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, WorkerChanged) and event.change == change


@pytest.mark.parametrize("method", METHODS)
def test_a_machine_joins_and_another_one_dies_in_mid_round(
    machines: Machines, tmp_path: Path, method: str
) -> None:
    hold = tmp_path / "hold"
    before, died_at = 0, 0.0

    def join() -> None:
        nonlocal before
        hold.touch()  # the round does not go on before the new machine is there
        before = len(machines.calls())
        machines.add(NEWCOMER)

    def die() -> None:
        nonlocal died_at
        machines.remove(3)
        died_at = time.monotonic()

    machines.add(1)
    machines.add(3)
    script = Script((after(3), join), (when("joined"), lambda: None), (after(8), die))
    found = picture(tmp_path / "farm", method, script, machines.open)
    seconds = time.monotonic() - died_at
    assert script.is_played
    assert found == picture(tmp_path / "alone", method, lambda event: None, opener(PieceMixer()))
    # where copies of its pieces are done elsewhere, the run may have ended before the loss is noticed
    assert script.changes[:2] in ([(2, "joined"), (0, "lost")], [(2, "joined")])
    calls = machines.calls()
    assert set(calls) == {1, 2, 3}, "every machine had one worker with all of its cores"
    assert NEWCOMER in calls[before : before + 4 + 1], "the others had two calls each at most, and held"
    assert seconds < 60, "nobody waited for the dead one to come back"


def test_a_machine_joins_and_another_one_dies_where_the_vectors_are_with_them(
    machines: Machines, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"

    def join() -> None:
        hold.touch()  # the step does not go on before the new machine is there
        machines.add(NEWCOMER)

    machines.add(1)
    machines.add(3)
    script = Script((after(3), join), (when("joined"), hold.unlink), (after(100), lambda: machines.remove(3)))
    found = picture(tmp_path / "farm", "exact", script, machines.open, "workers")
    assert script.is_played
    alone = picture(tmp_path / "alone", "exact", lambda event: None, opener(PieceMixer()))
    assert found == alone
    assert set(machines.calls()) == {1, 2, 3}, "who joined in mid-level got a share"
    assert script.changes[:2] == [(2, "joined"), (0, "lost")]


@pytest.mark.parametrize("method", METHODS)
def test_all_machines_leave_and_one_comes_back(machines: Machines, tmp_path: Path, method: str) -> None:
    machines.add(1)
    script = Script(
        (after(3), lambda: machines.remove(1, gently=True)), (when("gone"), lambda: machines.add(NEWCOMER))
    )
    found = picture(tmp_path / "farm", method, script, machines.open)
    assert script.is_played
    assert found == picture(tmp_path / "alone", method, lambda event: None, opener(PieceMixer()))
    assert script.changes == [(0, "lost"), (0, "gone"), (1, "joined")]
    assert set(machines.calls()) == {1, 2}


def test_a_machine_gets_the_weights_once(machines: Machines) -> None:
    """Not once per worker, nor per call, nor again for a worker that was started again."""
    machines.add(16)
    weights = Weights({"conv1_1.weight": np.ones(2**21, np.float32)}, "caffe", "")
    farm = machines.open(weights, 2)
    nothing = np.zeros((16, 16, 3), np.float32)
    told: list[str] = []
    farm.listen(lambda event: told.append(event.change))
    assert [worker.threads for worker in farm.workers] == [8, 8]

    def until_back() -> Iterator[Batch]:
        for index in count():
            if index == 8:
                os.kill(farm.workers[0].process, signal.SIGKILL)
            yield Batch(index, (TileTask(index, nothing, nothing, 1),))
            if "back" in told:
                return

    done = [*farm.solve(SETTINGS, TARGETS, until_back(), lambda progress: None)]
    assert len(done) > 8
    size = weights.arrays["conv1_1.weight"].nbytes
    assert size <= machines.received(16) < 1.5 * size


def test_auto_is_the_cluster_of_this_machine(
    machines: Machines, head: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own variable names it where several run."""
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    machines.add(3)
    cluster.join("auto")
    assert [node.cores for node in cluster.nodes(1, lambda free: 1) if node.cores] == [3]
