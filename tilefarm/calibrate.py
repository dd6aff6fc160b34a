"""Timing one real tile on this machine, for the plan's estimate."""

from __future__ import annotations

from dataclasses import dataclass, replace

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


def time_tile(prepared: Prepared, executor: Executor, weights: Weights) -> Calibration:
    """The same with an executor that is there."""
    job = prepared.job
    started = choose(prepared, executor.workers, weights)
    settings = solver_settings(job, started)
    tile = prepared.plan.levels[-1].grid.tile
    side = (min(LARGEST_SIDE, tile.height), min(LARGEST_SIDE, tile.width))
    picture = np.random.default_rng(0).random((*side, 3), dtype=np.float32)
    task = TileTask(0, picture, picture, _FEW)
    _solve(executor, settings, task)  # the first solve also loads code and chooses kernels
    few = _solve(executor, settings, task)
    more = _solve(executor, settings, replace(task, iterations=_MORE))
    per_step = max(more - few, 1e-9) / (_MORE - _FEW)
    megapixels = side[0] * side[1] / 1e6
    return Calibration(per_step / megapixels, settings.precision, executor.workers[0], few, megapixels)


def _solve(executor: Executor, settings: SolverSettings, task: TileTask) -> float:
    channels = channels_of(settings.network)
    targets = LevelTargets(
        key="calibration",
        styles={
            name: RegionMoments(
                np.ones((1, channels[name]), dtype=np.float32), np.eye(channels[name], dtype=np.float32)[None]
            )
            for name, _ in settings.style_layers
        },
        content_mean_squares={name: 1.0 for name, _ in settings.content_layers},
    )
    (done,) = executor.solve(settings, targets, [Batch(0, (task,))], lambda progress: None)
    return done.solutions[0].seconds
