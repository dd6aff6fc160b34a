"""Nights of work in small: thousands of tiles and hundreds of iterations leave the driver as it was.

What grows is stated: a line on record for each tile or step. All else is measured after a quarter of the work
and at the end.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.pieces import PieceMixer, make_mixer
from tests.standins import opener
from tilefarm.driver import Opener, render, run_folder
from tilefarm.events import Event, StepTaken, TileFinished
from tilefarm.execute import cluster
from tilefarm.execute.open import ExecutorChoice
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

MIB = 2**20
HEAP_PER_UNIT = 2500
"""Bytes of Python objects that the driver may keep of a tile or step: its line on record."""
HEAP_SLACK = MIB
LARGEST_COUNTED = MIB
"""Single blocks above it are tables that the interpreter makes anew, such as that of interned strings, which
is the larger the more tests were imported. What a leak keeps of a tile or step is smaller; RSS sees all."""
RSS_GROWTH = 24 * MIB
"""Pages that the allocator keeps, and of libraries that are loaded late."""
LINE_BYTES = 300
EVENT_BYTES = 700


@dataclass
class Watch:
    """Measures this process after a quarter of so many units of work, and at the last of them."""

    units: int
    processes: Callable[[], list[psutil.Process]] = lambda: []
    """Others whose memory is measured too."""
    done: int = 0
    heap: list[int] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    """Open ones. Ray's sockets, which outlive its session for a while, come and go."""
    threads: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        if not isinstance(event, TileFinished | StepTaken):
            return
        self.done += 1
        if self.done == self.units // 8:  # so that what is made anew all the time is known at the first look
            tracemalloc.start()
        elif self.done == self.units // 4:
            gc.collect()
            self._look()
        elif self.done == self.units:
            gc.collect()
            self._look()
            tracemalloc.stop()

    def _look(self) -> None:
        process = psutil.Process()
        sizes = [trace.size for trace in tracemalloc.take_snapshot().traces]
        self.heap.append(sum(size for size in sizes if size <= LARGEST_COUNTED))
        self.rss.append(process.memory_info().rss)
        self.files.append(len(process.open_files()))
        self.threads.append(threading.active_count())
        self.others.append(sum(one.memory_info().rss for one in self.processes()))

    def check(self) -> None:
        """Whether the second look is like the first."""
        assert self.done == self.units
        later = self.units - self.units // 4
        assert self.heap[1] - self.heap[0] < HEAP_PER_UNIT * later + HEAP_SLACK
        assert self.rss[1] - self.rss[0] < RSS_GROWTH
        assert 0 < self.files[1] <= self.files[0]
        assert self.threads[1] <= self.threads[0]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where the system has such a place: thousands of syncs then take no time."""
    place = Path("/dev/shm")
    if not place.is_dir():
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(dir=place))
    yield made
    shutil.rmtree(made)


def go(folder: Path, size: tuple[int, int], more: str, watch: Watch, open_executor: Opener) -> RunDir:
    generator = np.random.default_rng(4)
    for name, (width, height) in (("content.png", size), ("style.png", (60, 40))):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    path = folder / "job.yaml"
    path.write_text(
        "content: content.png\nstyle: style.png\noutput: {path: out.tif}\ncompute: {precision: float32}\n"
        f"objective: {{content_layers: {{relu2_2: 1}}, style_layers: {{relu1_1: 1}}}}\n{more}"
    )
    job = load_job(path)
    run = run_folder(job, folder / "runs")
    render(job, run, ExecutorChoice("local"), watch, open_executor)
    return run


def assert_short_logs(run: RunDir, units: int) -> None:
    assert run.journal.stat().st_size < LINE_BYTES * (units + 20)
    assert run.events.stat().st_size < EVENT_BYTES * (units + 50)


def test_two_thousand_tiles(folder: Path) -> None:
    # tiles of 64 at every 32, from 80x60 to 640x480
    rounds, tiles = 5, [4 * 3, 6 * 5, 11 * 9, 21 * 16]
    units = rounds * sum(tiles)
    assert units > 2000
    more = "method: feathered\npyramid: {smallest: 64, iterations: [1]}\n"
    more += f"tiles: {{size: 64, rounds: {rounds}, iterations: 1}}\n"
    watch = Watch(units)
    run = go(folder, (640, 480), more, watch, opener(PieceMixer()))
    watch.check()
    assert_short_logs(run, units)


@pytest.fixture
def farm() -> Iterator[Opener]:
    """Two workers as Ray actors."""
    from tilefarm.execute.farm import RayExecutor
    from tilefarm.execute.layout import alike

    cluster.start_local(2, "cpu")
    yield lambda weights, most: RayExecutor(make_mixer, weights, alike(2, 1, 0))
    cluster.leave()


def farm_processes() -> list[psutil.Process]:
    """The workers, and the process that holds the object store."""
    names = ("Actor", "raylet")
    children = psutil.Process().children(recursive=True)
    return [child for child in children if any(name in child.name() for name in names)]


def test_three_hundred_tiles_on_a_farm(folder: Path, farm: Opener) -> None:
    """Each crosses to a worker and back through the object store, being larger than what Ray sends along."""
    tiles = [10 * 9, 19 * 16]
    watch = Watch(sum(tiles), farm_processes)
    more = "method: feathered\npyramid: {smallest: 512, iterations: [1]}\n"
    go(folder, (1152, 960), more + "tiles: {size: 128, rounds: 1, iterations: 1}\n", watch, farm)
    watch.check()
    assert watch.others[0] > 3 * MIB
    assert watch.others[1] - watch.others[0] < 3 * RSS_GROWTH  # 295 tiles' data, there and back, are 166 MiB


def test_five_hundred_iterations(folder: Path) -> None:
    """With Adam, which takes every step: L-BFGS is at the minimum of this objective after 16."""
    steps = 500
    sizes: list[int] = []

    class Looking(Watch):
        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if isinstance(event, StepTaken):
                sizes.append(next((folder / "runs").glob("*/optimizer-0/state.json")).stat().st_size)

    more = f"method: exact\npyramid: {{smallest: 64, iterations: [{steps}]}}\ntiles: {{size: 64}}\n"
    watch = Looking(steps)
    run = go(folder, (80, 60), more + "optimizer: {name: adam}\n", watch, opener(PieceMixer()))
    watch.check()
    assert_short_logs(run, steps)
    assert max(sizes) < 25 * steps + 20_000  # the losses so far
