"""L-BFGS without a line search for a batch of independent problems.

Nocedal and Wright 2006, "Numerical optimization", chapter 7.2. For each problem ("tile") alone
the iterates are those of torch.optim.LBFGS(lr=1, line_search_fn=None) up to rounding: the same
first step, curvature guard, scaling of H0 and stopping rules. What is added: all tiles of a
batch go through the network together, and a tile whose loss is no longer finite, or has exploded,
goes back to its last good point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilefarm.solve.direction import direction_coefficients
from tilefarm.solve.history import PairHistory, dot, norm1

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x (B, D) to the losses (B,) and their gradients (B, D)."""
EvaluateLoss = Callable[[Tensor], Tensor]
"""x (B, D) to the losses (B,)."""
Callback = Callable[[int, NDArray[np.float64]], None]
"""Gets the number of the iteration, from 1, and every tile's loss at its last good point."""

GRADIENT_TOLERANCE = 1e-7
CHANGE_TOLERANCE = 1e-9
SMALLEST_CURVATURE = 1e-10
"""A pair with s . y below this would make H indefinite or blow it up; it is not stored."""
MOST_ROLLBACKS = 10
"""In a row: a step of 1e-10 of the full length that still fails will not get better."""
ROLLBACK_FACTOR = 0.1


class Status(Enum):
    """Why a tile's search ended."""

    ITERATIONS = "all iterations were done"
    SMALL_GRADIENT = "the gradient vanished"
    NO_DESCENT = "the direction leads no further down"
    SMALL_STEP = "the step vanished"
    SMALL_CHANGE = "the loss no longer changed"
    ROLLBACKS = "no step length gave an acceptable loss"
    FAILED = "the start has no finite loss or gradient"


@dataclass(frozen=True)
class Minimum:
    """What became of each tile."""

    x: Tensor
    """Each tile's last good point, (B, D)."""
    first: NDArray[np.float64]
    """The losses at the start, (B,)."""
    last: NDArray[np.float64]
    """The losses at x, (B,); not finite only where the status is FAILED."""
    iterations: tuple[int, ...]
    """Steps that were taken."""
    rollbacks: tuple[int, ...]
    """Steps that were taken back."""
    status: tuple[Status, ...]


def minimize(
    evaluate: Evaluate,
    evaluate_loss: EvaluateLoss,
    start: Tensor,
    *,
    iterations: int,
    history: int,
    largest_increase: float = math.inf,
    callback: Callback | None = None,
) -> Minimum:
    """Takes up to `iterations` L-BFGS steps from `start` (B, D), remembering `history` pairs.

    `evaluate` is called once per iteration. The last point's loss comes from `evaluate_loss`, whose
    last call is always at the returned x. The dtype of `start` is that of the iterates and of the
    history. A step to a loss above `largest_increase` times the present one (which is positive) is
    rolled back like one to a loss that is not finite; without a limit a step may go up, as in torch.
    A rollback costs the tile the iteration in which it happens.
    """
    search = _Search(evaluate, start, min(history, max(iterations, 1)), largest_increase)
    first = search.loss.copy()
    checked = False
    for iteration in range(1, iterations + 1):
        step = search.next_step()
        if not search.running.any():
            break
        if iteration < iterations:
            search.try_step(step, *evaluate(search.x + step))
        else:
            checked = search.try_last_step(step, evaluate_loss(search.x + step))
        if callback is not None:
            callback(iteration, search.loss)
    if not checked:
        search.loss = _numbers(evaluate_loss(search.x))
    return Minimum(
        search.x, first, search.loss, tuple(search.iterations), tuple(search.rollbacks), tuple(search.status)
    )


class _Search:
    """The state of a batch between iterations. Vectors are tensors (B, D), numbers are arrays (B,).

    Tiles that have ended stay in the batch, with a step of zero: in a smaller batch the others'
    results could differ in their last bits, and so would depend on their neighbours.
    """

    def __init__(self, evaluate: Evaluate, start: Tensor, capacity: int, largest_increase: float) -> None:
        batch, length = start.shape
        self._largest_increase = largest_increase
        self.x = start.detach().clone()
        loss, self.gradient = evaluate(self.x)
        self.loss = _numbers(loss)
        self.running = np.ones(batch, dtype=bool)
        self.status = [Status.ITERATIONS] * batch
        self.iterations = [0] * batch
        self.rollbacks = [0] * batch
        self._rollbacks_in_row = np.zeros(batch, dtype=int)
        self._history = PairHistory(batch, length, capacity, self.x)
        steepest = _largest(self.gradient)
        self._end(~(np.isfinite(self.loss) & np.isfinite(steepest)), Status.FAILED)
        self._end(steepest <= GRADIENT_TOLERANCE, Status.SMALL_GRADIENT)
        # The first direction is -g, whose length says nothing about the distance to the minimum.
        self._first_length = np.minimum(1.0, 1.0 / np.maximum(norm1(self.gradient), 1e-300))

    def next_step(self) -> Tensor:
        """The step to try, (B, D); zero for a tile that has ended, as it does where no descent is left.

        After a rollback nothing but the length differs: point, gradient and history are the same.
        """
        dots = self._history.dots(self.gradient)
        coefficients = [direction_coefficients(matrix) for matrix in dots]
        slopes = np.array([values @ matrix[:, -1] for values, matrix in zip(coefficients, dots, strict=True)])
        self._end(slopes > -CHANGE_TOLERANCE, Status.NO_DESCENT)
        direction = self._history.combine(coefficients, self.gradient)
        length = np.where(np.array(self.iterations) == 0, self._first_length, 1.0)
        length = length * ROLLBACK_FACTOR**self._rollbacks_in_row
        step = direction * torch.from_numpy(length).to(direction).unsqueeze(1)
        return torch.where(self._column(self.running), step, 0.0)

    def try_step(self, step: Tensor, loss: Tensor, gradient: Tensor) -> None:
        """Accepts the running tiles' steps to an acceptable loss and gradient, rolls back the others."""
        steepest = _largest(gradient)
        losses = _numbers(loss)
        good = self._sort_out(self._acceptable(losses) & np.isfinite(steepest))
        change = gradient - self.gradient
        curvature = dot(step, change)
        self.x = torch.where(self._column(good), self.x + step, self.x)
        self.gradient = torch.where(self._column(good), gradient, self.gradient)
        previous, self.loss = self.loss, np.where(good, losses, self.loss)
        # The order is torch's: the first rule that holds names the end.
        self._end(good & (steepest <= GRADIENT_TOLERANCE), Status.SMALL_GRADIENT)
        self._end(good & (_largest(step) <= CHANGE_TOLERANCE), Status.SMALL_STEP)
        self._end(good & (np.abs(self.loss - previous) < CHANGE_TOLERANCE), Status.SMALL_CHANGE)
        kept = good & self.running & (curvature > SMALLEST_CURVATURE)
        self._history.push([int(tile) for tile in np.flatnonzero(kept)], step, change)

    def try_last_step(self, step: Tensor, loss: Tensor) -> bool:
        """The same for the last step, whose gradient nobody needs. True if no tile was rolled back."""
        losses = _numbers(loss)
        running = self.running.copy()
        good = self._sort_out(self._acceptable(losses))
        self.x = torch.where(self._column(good), self.x + step, self.x)
        self.loss = np.where(good, losses, self.loss)
        return bool((good == running).all())

    def _acceptable(self, losses: NDArray[np.float64]) -> NDArray[np.bool_]:
        limits = np.full_like(losses, np.inf)
        if math.isfinite(self._largest_increase):
            limits[self.loss > 0] = self._largest_increase * self.loss[self.loss > 0]
        acceptable: NDArray[np.bool_] = np.isfinite(losses) & (losses <= limits)
        return acceptable

    def _sort_out(self, acceptable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Counts the running tiles' steps and rollbacks; returns which running tiles are good."""
        good = self.running & acceptable
        bad = self.running & ~acceptable
        for tile in np.flatnonzero(good):
            self.iterations[tile] += 1
        for tile in np.flatnonzero(bad):
            self.rollbacks[tile] += 1
        self._rollbacks_in_row = np.where(bad, self._rollbacks_in_row + 1, 0)
        self._end(self._rollbacks_in_row >= MOST_ROLLBACKS, Status.ROLLBACKS)
        return good

    def _end(self, tiles: NDArray[np.bool_], status: Status) -> None:
        for tile in np.flatnonzero(tiles & self.running):
            self.status[tile] = status
            self.running[tile] = False

    def _column(self, tiles: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(tiles).to(self.x.device).unsqueeze(1)


def _largest(vectors: Tensor) -> NDArray[np.float64]:
    """The largest absolute value of each row of (B, D), shape (B,); NaN where a row holds one."""
    return _numbers(vectors.abs().amax(dim=1))


def _numbers(values: Tensor) -> NDArray[np.float64]:
    result: NDArray[np.float64] = values.detach().double().cpu().numpy().copy()
    return result
