"""A stand-in for a worker: what remains of a round's time is the farm's own."""

from __future__ import annotations

import os
import time

import tilefarm
from tilefarm.execute.process import peak_rss
from tilefarm.execute.protocol import Batch, Keep, Progress, Worker, WorkerInfo
from tilefarm.solve.contract import LevelTargets, Losses, SolverSettings, Weights
from tilefarm.solve.tasks import (
    Derivatives,
    Measurement,
    MeasureTask,
    PieceGradient,
    PieceSums,
    PieceTask,
    TileSolution,
    TileTask,
)

BUSY_SECONDS = 0.1
"""Per tile. A GPU takes about 0.03 s, a few CPU cores a minute."""


def make_busy_worker(weights: Weights, device: str, threads: int) -> Worker:
    """A stand-in, made in the actor's process."""
    return BusyWorker()


class BusyWorker:
    """Takes a fixed time for a tile, and no core, as if a GPU did the work; returns the tile as it came."""

    def info(self) -> WorkerInfo:
        """Describe this worker."""
        return WorkerInfo(
            device="cpu",
            device_name="stand-in",
            gpu_bytes=None,
            threads=1,
            fast_precision="float32",
            process=os.getpid(),
            node="",
            version=tilefarm.__version__,
            memory_bytes=0,
            node_bytes=0,
        )

    def solve(
        self, settings: SolverSettings, targets: LevelTargets, batch: Batch
    ) -> tuple[TileSolution, ...]:
        """Take the time of every tile, one after the other."""
        return tuple(self._busy(task) for task in batch.tasks)

    def measure(self, settings: SolverSettings, task: MeasureTask) -> Measurement:
        """Not for stand-ins."""
        raise NotImplementedError

    def piece_sums(self, settings: SolverSettings, keep: Keep, task: PieceTask) -> PieceSums:
        """Not for stand-ins."""
        raise NotImplementedError

    def piece_gradient(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, task: PieceTask
    ) -> PieceGradient:
        """Not for stand-ins."""
        raise NotImplementedError

    def progress(self) -> Progress | None:
        """None: a tile is too short."""
        return None

    def peak_rss(self) -> int:
        """The largest resident size of this worker's process so far, in bytes."""
        return peak_rss()

    def _busy(self, task: TileTask) -> TileSolution:
        begin = time.perf_counter()
        time.sleep(BUSY_SECONDS)
        image = task.image.copy()  # a solver's result is not the array that it was given
        losses = Losses(0.0, 0.0, 0.0, 0.0)
        seconds = time.perf_counter() - begin
        return TileSolution(task.index, image, losses, losses, task.iterations, 0, seconds)
