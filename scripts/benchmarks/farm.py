"""Feathered tiles: how fast one worker solves them, and what handing them out to workers costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scripts.benchmarks.busy import make_busy_worker
from scripts.benchmarks.context import Bench
from scripts.benchmarks.peak import FLOP, big_convolution
from scripts.benchmarks.report import Record, Row
from scripts.benchmarks.timing import Spread, alternate, rates, ratios
from scripts.benchmarks.workload import default_settings, flop_per_pixel, local_executor, make_workload
from tilefarm.execute.protocol import Batch, Executor, Progress
from tilefarm.geometry import Size
from tilefarm.image.window import open_raw
from tilefarm.solve.contract import LevelTargets, Precision, TileTask, Weights

STEPS = 4
"""Optimizer steps of a timed tile."""
BUSY_SIDE = 64
"""Pixels a side of a stand-in's tile."""


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
class FarmOverhead(Record):
    """Stand-in tiles on Ray workers of one thread each."""

    workers: int
    tiles: int
    tile_seconds: Spread
    """What the workers took for a tile, by their own clocks, mean of a round."""
    seconds: Spread
    """From the first tile given out to the last one back."""
    time_over_ideal: Spread
    """Those seconds over the sum of all tile times divided by the workers."""
    overhead_milliseconds: Spread
    """Per tile and worker, what is beyond the tile time."""

    def rows(self) -> list[Row]:
        """Overhead as a ratio and per tile."""
        what = f"{self.tiles} stand-in tiles, {self.workers} workers"
        return [
            Row(what, self.time_over_ideal, "x ideal", f"{1e3 * self.tile_seconds.median:.0f} ms a tile"),
            Row(what, self.overhead_milliseconds, "ms a tile"),
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

    workers, tiles = bench.machine.threads, bench.scale.farm_tiles
    walls, busy = [], []
    cluster.start_local(workers, "cpu")
    try:
        farm = RayExecutor(make_busy_worker, Weights({}, "caffe", ""), cluster.Layout(workers, 1, 0))
        _solve_all(farm, 2 * workers)  # the first calls load code
        for _ in range(bench.scale.rounds):
            begin = time.perf_counter()
            busy.append(_solve_all(farm, tiles))
            walls.append(time.perf_counter() - begin)
    finally:
        cluster.leave()
    return overhead(walls, busy, workers, tiles)


def overhead(walls: Sequence[float], busy: Sequence[float], workers: int, tiles: int) -> FarmOverhead:
    """From each round's seconds and the sum of its tile times."""
    beyond = [(wall * workers - work) / tiles for wall, work in zip(walls, busy, strict=True)]
    return FarmOverhead(
        workers=workers,
        tiles=tiles,
        tile_seconds=Spread.of(work / tiles for work in busy),
        seconds=Spread.of(walls),
        time_over_ideal=ratios(walls, [work / workers for work in busy]),
        overhead_milliseconds=Spread.of(1e3 * each for each in beyond),
    )


def _solve_all(farm: Executor, tiles: int) -> float:
    """Solve so many stand-in tiles; the sum of the workers' seconds."""
    image = np.zeros((BUSY_SIDE, BUSY_SIDE, 3), dtype=np.float32)
    batches = (Batch(index, (TileTask(index, image, image, STEPS),)) for index in range(tiles))
    done = farm.solve(default_settings("float32"), LevelTargets("benchmark", {}, {}), batches, _ignore)
    return sum(solution.seconds for batch in done for solution in batch.solutions)


def _ignore(progress: Progress) -> None:
    """Nobody watches."""
