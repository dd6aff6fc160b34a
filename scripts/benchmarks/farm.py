"""Feathered tiles: how fast one worker solves them, and what a farm of workers costs beyond that."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from scripts.benchmarks.busy import make_busy_worker
from scripts.benchmarks.context import Bench
from scripts.benchmarks.peak import FLOP, big_convolution
from scripts.benchmarks.report import Record, Row
from scripts.benchmarks.timing import Spread, alternate, rates, ratios
from scripts.benchmarks.workload import (
    default_job,
    default_settings,
    flop_per_pixel,
    local_executor,
    make_workload,
    write_picture,
)
from tilefarm.canvas.tile_store import TileStore
from tilefarm.events import Event, TileFinished
from tilefarm.execute.protocol import Batch, Executor, Progress
from tilefarm.geometry import Size
from tilefarm.image.decode import PictureInfo
from tilefarm.image.orientation import Orientation
from tilefarm.image.window import open_raw
from tilefarm.plan.build import build_plan
from tilefarm.prepare import Prepared
from tilefarm.rounds import Round, RunTools
from tilefarm.rundir.event_log import EventLog
from tilefarm.rundir.journal import Journal
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.solve.contract import LevelTargets, Precision, Weights
from tilefarm.solve.tasks import TileTask
from tilefarm.spec.model import Tiles

STEPS = 4
"""Optimizer steps of a timed tile."""
SIDE = 512
"""Pixels a side of a stand-in's tile."""
WORKERS = 2
"""Stand-ins. They need no cores, and figures of different machines are of the same rate of tiles."""


@dataclass(frozen=True)
class TileSpeed(Record):
    """Real tiles, one after the other in this process."""

    tile: int
    """Pixels a side."""
    steps: int
    precision: Precision
    seconds: Spread
    """Per tile: content features, the evaluations of all steps, and the final loss."""
    megapixel_steps_per_second: Spread
    share_of_peak: Spread
    """The arithmetic of the steps alone, over what a large convolution does in that time."""

    def rows(self) -> list[Row]:
        """Speed and share of the peak."""
        what = f"tile of {self.tile}, {self.precision}"
        return [
            Row(what, self.seconds, "s", f"{self.steps} steps"),
            Row(what, self.megapixel_steps_per_second, "MP steps/s"),
            Row(what, self.share_of_peak, "of peak"),
        ]


@dataclass(frozen=True)
class Timing:
    """One round of stand-in tiles, in seconds."""

    wall: float
    """All of the round: reading, handing out, making durable, blending."""
    tiles: float
    """The sum of the tiles', by the workers' own clocks."""
    blend: float
    """From the last tile on record to the round on record."""
    driver: float
    """The driver's processor time."""


@dataclass(frozen=True)
class FarmOverhead(Record):
    """Rounds of stand-in tiles on Ray workers, with everything that reaches the disk."""

    tile: int
    """Pixels a side."""
    workers: int
    tiles: int
    tile_seconds: Spread
    """What the workers took for a tile, by their own clocks, mean of a round."""
    seconds: Spread
    """Of the round."""
    time_over_ideal: Spread
    """Those seconds over the sum of all tile times divided by the workers."""
    overhead_milliseconds: Spread
    """Per tile and worker, what is beyond the tile time."""
    blend_milliseconds: Spread
    """Per tile: the part at the end of a round that no worker can shorten."""
    driver_milliseconds: Spread
    """Per tile, the driver's processor time: how many workers it can serve."""

    def rows(self) -> list[Row]:
        """Overhead as a ratio and per tile."""
        what = f"round of {self.tiles} stand-in tiles of {self.tile}, {self.workers} workers"
        return [
            Row(what, self.time_over_ideal, "x ideal", f"{1e3 * self.tile_seconds.median:.0f} ms a tile"),
            Row(what, self.overhead_milliseconds, "ms a tile", "beyond the tile, per worker"),
            Row(what, self.blend_milliseconds, "ms a tile", "of blending"),
            Row(what, self.driver_milliseconds, "ms a tile", "of the driver's processor time"),
        ]


def measure_farm(bench: Bench) -> list[Record]:
    """Both records."""
    return [_tile_speed(bench), _overhead(bench)]


def _tile_speed(bench: Bench) -> TileSpeed:
    side, precision = bench.scale.tile, bench.machine.fast_precision
    size = Size(side, side)
    executor = local_executor(bench)
    workload = make_workload(bench.folder, executor, precision, size)
    image, content = (np.array(open_raw(path, size)) for path in (workload.point, workload.content))
    batch = Batch(0, (TileTask(0, image, content, STEPS),))

    def solve() -> None:
        list(executor.solve(workload.settings, workload.targets, [batch], _ignore))

    convolve = big_convolution(precision, bench.machine.threads)
    for work in (solve, convolve):  # the first call chooses kernels
        work()
    seconds = alternate(bench.scale.rounds, {"tile": solve, "peak": convolve})
    steps = size.pixels * STEPS
    mine = [steps * flop_per_pixel() / each for each in seconds["tile"]]
    return TileSpeed(
        tile=side,
        steps=STEPS,
        precision=precision,
        seconds=Spread.of(seconds["tile"]),
        megapixel_steps_per_second=rates(steps / 1e6, seconds["tile"]),
        share_of_peak=ratios(mine, [FLOP / each for each in seconds["peak"]]),
    )


def _overhead(bench: Bench) -> FarmOverhead:
    """Wall time and the workers' own time are of the same tiles, so every round is a pair."""
    from tilefarm.execute import cluster
    from tilefarm.execute.farm import RayExecutor
    from tilefarm.execute.layout import alike

    tiles = bench.scale.farm_tiles
    cluster.start_local(WORKERS, "cpu")
    try:
        farm = RayExecutor(make_busy_worker, Weights({}, "caffe", ""), alike(WORKERS, 1, 0))
        with TemporaryDirectory(dir=bench.folder) as folder:
            timings = _rounds(farm, Path(folder), tiles, 1 + bench.scale.rounds)
    finally:
        cluster.leave()
    return overhead(
        timings[1:], WORKERS, tiles
    )  # the first round loads code and touches files for the first time


def overhead(timings: Sequence[Timing], workers: int, tiles: int) -> FarmOverhead:
    """From the seconds of several rounds."""
    walls = [each.wall for each in timings]
    beyond = [(each.wall * workers - each.tiles) / tiles for each in timings]
    return FarmOverhead(
        tile=SIDE,
        workers=workers,
        tiles=tiles,
        tile_seconds=Spread.of(each.tiles / tiles for each in timings),
        seconds=Spread.of(walls),
        time_over_ideal=ratios(walls, [each.tiles / workers for each in timings]),
        overhead_milliseconds=Spread.of(1e3 * each for each in beyond),
        blend_milliseconds=Spread.of(1e3 * each.blend / tiles for each in timings),
        driver_milliseconds=Spread.of(1e3 * each.driver / tiles for each in timings),
    )


def _rounds(farm: Executor, folder: Path, tiles: int, count: int) -> list[Timing]:
    """Rounds as the driver renders them, of one level in one run folder; drift is not corrected."""
    run, prepared = RunDir(folder), _prepared(level_of(tiles))
    level = prepared.plan.levels[-1]
    for number, path in enumerate((run.canvas(level.index), run.content(level.index))):
        write_picture(path, level.size, number)
    finished: list[tuple[float, float]] = []

    with (
        Journal(run.journal) as journal,
        EventLog(run.events) as log,
        TileStore(run.tiles, level.grid.tile, level.grid.tiles) as store,
    ):

        def listen(event: Event) -> None:
            log.write(event)
            if isinstance(event, TileFinished):
                finished.append((time.perf_counter(), event.seconds))

        settings = default_settings("float32")
        tools = RunTools(prepared, run, journal, RunState(), farm, settings, 1, listen)
        timings = []
        for number in range(count):
            finished.clear()
            begin, busy = time.perf_counter(), time.process_time()
            Round(tools, level, number, store, LevelTargets("benchmark", {}, {})).render()
            end = time.perf_counter()
            seconds = sum(each for _, each in finished)
            timings.append(Timing(end - begin, seconds, end - finished[-1][0], time.process_time() - busy))
    return timings


def level_of(tiles: int) -> Size:
    """A level that is cut into so many tiles, about as high as wide.

    Needs at least 8 tiles: a smaller level is one tile. Raises ValueError for a prime number.
    """
    rows = max(rows for rows in range(2, tiles) if tiles % rows == 0 and rows * rows <= tiles)
    return Size((tiles // rows - 1) * SIDE // 2, (rows - 1) * SIDE // 2)


def _prepared(size: Size) -> Prepared:
    """A feathered job whose finest level has this size. Its pictures exist on no disk."""
    job = default_job(size).model_copy(
        update={"method": "feathered", "tiles": Tiles(size=SIDE, drift_correction=False)}
    )
    picture = PictureInfo(Path("picture.png"), "content", size, Orientation(False, False, False), False, ())
    return Prepared(job, picture, (picture,), build_plan(job, size, [size]), ())


def _ignore(progress: Progress) -> None:
    """Nobody watches."""
