"""The worker: holds one loaded network and solves batches of tiles with it."""

from __future__ import annotations

import os
import platform

import torch

import tilefarm
from tilefarm.execute.process import free_memory, give_back_large_blocks, peak_rss, total_memory
from tilefarm.execute.protocol import Batch, Keep, Progress, WorkerInfo
from tilefarm.solve.backend import fast_precision, make_network, resolve_device
from tilefarm.solve.contract import LevelTargets, SolverSettings, Weights
from tilefarm.solve.memory import MemoryAwareSolver
from tilefarm.solve.tasks import (
    Derivatives,
    Measurement,
    MeasureTask,
    MissingState,
    PieceGradient,
    PieceSums,
    PieceTask,
    TileSolution,
)


class TileWorker:
    """A worker on real features: one device, `threads` torch threads."""

    def __init__(self, weights: Weights, device: str, threads: int) -> None:
        give_back_large_blocks()
        self._weights = weights
        self._device = resolve_device(device)
        self._threads = threads
        self._settings: SolverSettings | None = None
        self._solver: MemoryAwareSolver | None = None
        self._progress: Progress | None = None

    def info(self) -> WorkerInfo:
        """Describe this worker."""
        torch.set_num_threads(self._threads)
        on_gpu = self._device.startswith("cuda")
        return WorkerInfo(
            device=self._device,
            device_name=torch.cuda.get_device_name(self._device) if on_gpu else platform.machine(),
            gpu_bytes=torch.cuda.get_device_properties(self._device).total_memory if on_gpu else None,
            threads=self._threads,
            fast_precision=fast_precision(self._device),
            process=os.getpid(),
            node=platform.node(),
            version=tilefarm.__version__,
            memory_bytes=free_memory(),
            node_bytes=total_memory(),
        )

    def solve(
        self, settings: SolverSettings, targets: LevelTargets, batch: Batch
    ) -> tuple[TileSolution, ...]:
        """Optimise every tile of a batch."""

        def on_iteration(iteration: int, loss: float) -> None:
            self._progress = Progress(batch.index, iteration, loss)

        try:
            return tuple(self._ready(settings).solve(targets, batch.tasks, on_iteration))
        finally:
            self._progress = None

    def measure(self, settings: SolverSettings, task: MeasureTask) -> Measurement:
        """Statistics of one piece of a picture."""
        return self._ready(settings).measure(task)

    def piece_sums(self, settings: SolverSettings, keep: Keep, task: PieceTask) -> PieceSums | MissingState:
        """Pass 1 of the exact method on one piece."""
        return self._ready(settings).statistics(task, keep.graphs, keep.contents, keep.crops)

    def piece_gradient(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, task: PieceTask
    ) -> PieceGradient | MissingState:
        """Pass 2 of the exact method on one piece."""
        return self._ready(settings).gradient(task, slopes, keep.graphs, keep.contents, keep.crops)

    def progress(self) -> Progress | None:
        """Where the current `solve` is."""
        return self._progress

    def peak_rss(self) -> int:
        """The largest resident size of this worker's process so far, in bytes."""
        return peak_rss()

    def _ready(self, settings: SolverSettings) -> MemoryAwareSolver:
        """The solver for these settings. Sets torch's threads: OpenMP counts them per calling thread."""
        torch.set_num_threads(self._threads)
        if self._solver is None or self._settings != settings:
            self._solver = None  # makes room for the next one
            self._solver = MemoryAwareSolver(make_network(settings, self._weights, self._device), settings)
            self._settings = settings
        return self._solver
