"""Numbers that went wrong: what a worker answers is looked at before it leaves the worker.

A solution or a measurement that is not finite is a failure like any other: it is done again, on another
worker where there is one, and ends the run with the third. Pieces of the exact method pass: there a step that
diverged is not finite on any worker, and the optimizer takes it back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from tilefarm.execute.protocol import Batch, Keep, Progress, Worker, WorkerInfo
from tilefarm.solve.coding import decoded
from tilefarm.solve.contract import LevelTargets, SolverSettings
from tilefarm.solve.tasks import (
    Derivatives,
    FoldedSums,
    LayerSums,
    Measurement,
    MeasureTask,
    MissingState,
    PieceGradient,
    PieceSums,
    PieceTask,
    TileSolution,
)


class NotFiniteError(ArithmeticError):
    """A result holds NaN or infinity."""


def is_sound(result: TileSolution | Measurement | PieceSums | PieceGradient) -> bool:
    """Whether every number of a result is finite: pictures, means, losses, statistics, slopes."""
    if isinstance(result, TileSolution):
        means = [] if result.moments is None else [result.moments.gradient, result.moments.square]
        return _are_finite([result.image, *means, result.first.total, result.last.total])
    if isinstance(result, PieceGradient):
        return _are_finite([decoded(result.gradient)])
    numbers = result.squares if isinstance(result, Measurement) else result.content_errors
    return _are_finite(numbers.values()) and all(_is_finite(sums) for sums in result.styles.values())


class Judged:
    """A worker whose solutions and measurements are sound, or raise NotFiniteError.

    Its next good solution, or pass over a piece, says how many were not since the last one.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._thrown_away = 0

    def info(self) -> WorkerInfo:
        """As the worker describes itself."""
        return self._worker.info()

    def solve(
        self, settings: SolverSettings, targets: LevelTargets, batch: Batch
    ) -> tuple[TileSolution, ...]:
        """Optimise every tile of a batch."""
        solutions = self._worker.solve(settings, targets, batch)
        for solution in solutions:
            self._check(solution, f"tile {solution.index}")
        return (replace(solutions[0], gone_wrong=self._told()), *solutions[1:])

    def measure(self, settings: SolverSettings, task: MeasureTask) -> Measurement:
        """Statistics of one piece of a picture."""
        measurement = self._worker.measure(settings, task)
        self._check(measurement, f"piece {task.index}")
        return measurement

    def piece_sums(self, settings: SolverSettings, keep: Keep, task: PieceTask) -> PieceSums | MissingState:
        """Pass 1 of the exact method on one piece, whatever its numbers are."""
        sums = self._worker.piece_sums(settings, keep, task)
        return sums if isinstance(sums, MissingState) else replace(sums, gone_wrong=self._told())

    def piece_gradient(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, task: PieceTask
    ) -> PieceGradient | MissingState:
        """Pass 2 of the exact method on one piece, whatever its numbers are."""
        return self._worker.piece_gradient(settings, keep, slopes, task)

    def progress(self) -> Progress | None:
        """Where the current `solve` is."""
        return self._worker.progress()

    def peak_rss(self) -> int:
        """The largest resident size of the worker's process so far, in bytes."""
        return self._worker.peak_rss()

    def _check(self, result: TileSolution | Measurement, what: str) -> None:
        if not is_sound(result):
            self._thrown_away += 1
            raise NotFiniteError(f"{what} came back with values that are not finite numbers")

    def _told(self) -> int:
        count, self._thrown_away = self._thrown_away, 0
        return count


def _is_finite(sums: LayerSums | FoldedSums) -> bool:
    return _are_finite([sums.weights, sums.sums, sums.products])


def _are_finite(values: Iterable[object]) -> bool:
    return all(bool(np.isfinite(value).all()) for value in values)  # type: ignore[call-overload]
