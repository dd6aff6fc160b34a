"""Timing real tiles on this machine, for the plan's estimate and for simulations."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from tilefarm.execute.open import ExecutorChoice, open_executor
from tilefarm.execute.protocol import Batch, Executor, WorkerInfo
from tilefarm.prepare import Prepared
from tilefarm.settings import choose, solver_settings
from tilefarm.solve.contract import LevelTargets, Precision, RegionMoments, SolverSettings, Weights
from tilefarm.solve.tasks import TileTask
from tilefarm.solve.weights import load_weights
from tilefarm.spec.networks import channels_of

LARGEST_SIDE = 512
"""Larger tiles take the same time per pixel, and a user waits for this."""
ROUNDS, SECONDS = 3, 6.0
"""What is timed well is done so many times at least, and for so long; medians count."""
_FEW, _MORE = 1, 4
"""Steps of the two timed solves; their difference leaves out what happens once per tile."""


@dataclass(frozen=True)
class Calibration:
    """What a step costs here."""

    seconds_per_megapixel_step: float
    """One optimizer step on one million pixels."""
    precision: Precision
    worker: WorkerInfo
    """The worker that was timed, in this process."""
    first_step_seconds: float
    """Of a tile's whole call with one step: content, loss at the end and all that comes once included."""
    warm_up_seconds: float
    """More for the first call of all: code is loaded, kernels are chosen."""
    megapixels: float
    """Of the tile that was timed."""


def calibrate(prepared: Prepared) -> Calibration:
    """Solve one tile of noise with the job's network and objective, in this process, and time it."""
    job = prepared.job
    weights = load_weights(job.network.name, job.network.weights, job.network.preprocessing)
    executor = open_executor(ExecutorChoice(kind="local"), weights, job.compute.device, 1, 1)
    try:
        return time_tile(prepared, executor, weights)
    finally:
        executor.close()


def time_tile(prepared: Prepared, executor: Executor, weights: Weights, *, well: bool = False) -> Calibration:
    """The same with an executor that is there. All of its workers work at once, each on a tile of its own."""
    job = prepared.job
    settings = solver_settings(job, choose(prepared, executor.workers, weights))
    tile = prepared.plan.levels[-1].grid.tile
    side = (min(LARGEST_SIDE, tile.height), min(LARGEST_SIDE, tile.width))
    picture = np.random.default_rng(0).random((*side, 3), dtype=np.float32)

    def solve(iterations: int) -> None:
        task = TileTask(0, picture, picture, iterations)
        batches = [Batch(index, (replace(task, index=index),)) for index, _ in enumerate(executor.present)]
        for _ in executor.solve(settings, noise_targets(settings), batches, lambda progress: None):
            pass

    begin = time.perf_counter()
    solve(_FEW)
    first = time.perf_counter() - begin
    few, more = timed(lambda: solve(_FEW), lambda: solve(_MORE), well=well)
    per_step = max(more - few, 1e-9) / (_MORE - _FEW)
    megapixels = side[0] * side[1] / 1e6
    worker, warm_up = executor.workers[0], max(0.0, first - few)
    return Calibration(per_step / megapixels, settings.precision, worker, few, warm_up, megapixels)


def timed(*works: Callable[[], None], well: bool) -> list[float]:
    """Seconds of each; `well`: medians of several, in turns, since what disturbs one should disturb all."""
    seconds: list[list[float]] = [[] for _ in works]
    while not seconds[0] or (well and (len(seconds[0]) < ROUNDS or sum(map(sum, seconds)) < SECONDS)):
        for work, times in zip(works, seconds, strict=True):
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
    return [median(times) for times in seconds]


def noise_targets(settings: SolverSettings) -> LevelTargets:
    """Targets of no picture, for timing: means of 1, variances of 1, and no channel goes with another."""
    channels = channels_of(settings.network)

    def moments(count: int) -> RegionMoments:
        products = 1 + np.eye(count, dtype=np.float32)
        return RegionMoments(np.ones((1, count), dtype=np.float32), products[None])

    return LevelTargets(
        key="calibration",
        styles={name: moments(channels[name]) for name, _ in settings.style_layers},
        content_mean_squares={name: 1.0 for name, _ in settings.content_layers},
    )
