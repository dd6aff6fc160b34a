"""The search of a batch of independent problems, whatever optimizer proposes its steps.

All tiles of a batch go through the network together; each has an end of its own, and a step of it that
leads nowhere is taken back without the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilefarm.solve.tolerances import CHANGE_TOLERANCE, GRADIENT_TOLERANCE, unit_of

Numbers = NDArray[np.float64]
"""One number per tile, (B,)."""
Tiles = NDArray[np.bool_]
"""Which tiles, (B,)."""
Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x (B, D) to the losses (B,) and their gradients (B, D)."""
EvaluateLoss = Callable[[Tensor], Tensor]
"""x (B, D) to the losses (B,)."""
Callback = Callable[[int, Numbers], None]
"""Gets the number of the iteration, from 1, and every tile's loss at its last good point."""

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
    """Each tile's result, (B, D): its last good point, or what the optimizer makes of its points."""
    first: Numbers
    """The losses at the start."""
    last: Numbers
    """The losses at x; not finite only where the status is FAILED."""
    iterations: tuple[int, ...]
    """Steps that were taken."""
    rollbacks: tuple[int, ...]
    """Steps that were taken back."""
    status: tuple[Status, ...]


class Method(Protocol):
    """An optimizer: it proposes steps and learns what became of them."""

    def propose(self, search: Search) -> Tensor:
        """The step from every tile's point, (B, D). May end tiles; asked again after a rollback."""

    def acceptable(self, search: Search, losses: Numbers) -> Tiles:
        """Where the step led to a loss that this optimizer goes on from; the losses are finite or not."""

    def accepted(self, search: Search, before: Point, step: Tensor, good: Tiles) -> None:
        """The tiles `good` have taken their step: `search` holds their new points. May end tiles."""

    def rejected(self, search: Search, bad: Tiles, losses: Numbers, gradient: Tensor) -> None:
        """The tiles `bad` stay where they are; what was found where they tried to go, finite or not."""

    def result(self, search: Search) -> Tensor:
        """What the search gives, (B, D)."""


@dataclass(frozen=True)
class Point:
    """Where all tiles are."""

    x: Tensor
    gradient: Tensor
    loss: Numbers


class Search:
    """The state of a batch between iterations. Vectors are tensors (B, D), numbers are arrays (B,).

    Tiles that have ended stay in the batch, with a step of zero: in a smaller batch the others'
    results could differ in their last bits, and so would depend on their neighbours.
    """

    def __init__(self, evaluate: Evaluate, start: Tensor) -> None:
        batch = len(start)
        self.x = start.detach().clone()
        loss, self.gradient = evaluate(self.x)
        self.loss = numbers(loss)
        self.unit = np.array([unit_of(float(each), self.x.shape[1]) for each in self.loss])
        """By tile, what tolerances are multiplied with."""
        self.running = np.ones(batch, dtype=bool)
        self.status = [Status.ITERATIONS] * batch
        self.iterations = [0] * batch
        self.rollbacks = [0] * batch
        self.rollbacks_in_row = np.zeros(batch, dtype=int)
        steepest = largest(self.gradient)
        self.end(~(np.isfinite(self.loss) & np.isfinite(steepest)), Status.FAILED)
        self.end(steepest <= GRADIENT_TOLERANCE * self.unit, Status.SMALL_GRADIENT)

    def next_step(self, method: Method) -> Tensor:
        """The step to try, (B, D); zero for a tile that has ended."""
        step = method.propose(self)
        return torch.where(self.column(self.running), step, 0.0)

    def try_step(self, method: Method, step: Tensor, loss: Tensor, gradient: Tensor) -> None:
        """Accepts the running tiles' steps to an acceptable loss and gradient, rolls back the others."""
        steepest, losses = largest(gradient), numbers(loss)
        acceptable = np.isfinite(losses) & method.acceptable(self, losses) & np.isfinite(steepest)
        good, bad = self._sort_out(acceptable)
        before = Point(self.x, self.gradient, self.loss)
        self._move(good, step, losses)
        self.gradient = torch.where(self.column(good), gradient, self.gradient)
        method.accepted(self, before, step, good)
        if bad.any():
            method.rejected(self, bad, losses, gradient)

    def try_last_step(self, method: Method, step: Tensor, loss: Tensor) -> bool:
        """The same for the last step, whose gradient nobody needs. True if no tile was rolled back."""
        losses = numbers(loss)
        good, bad = self._sort_out(np.isfinite(losses) & method.acceptable(self, losses))
        self._move(good, step, losses)
        return not bad.any()

    def end(self, tiles: Tiles, status: Status) -> None:
        """End the search of those of `tiles` that are running."""
        for tile in np.flatnonzero(tiles & self.running):
            self.status[tile] = status
            self.running[tile] = False

    def end_where_flat(self, before: Point, step: Tensor, good: Tiles) -> None:
        """End tiles by torch.optim.LBFGS's rules; the first one that holds names the end."""
        steepest = largest(self.gradient)
        self.end(good & (steepest <= GRADIENT_TOLERANCE * self.unit), Status.SMALL_GRADIENT)
        self.end(good & (largest(step) <= CHANGE_TOLERANCE), Status.SMALL_STEP)
        change = np.abs(self.loss - before.loss)
        self.end(good & (change < CHANGE_TOLERANCE * self.unit), Status.SMALL_CHANGE)

    def column(self, tiles: Tiles) -> Tensor:
        """As a tensor (B, 1) on the device of the vectors."""
        return torch.from_numpy(tiles).to(self.x.device).unsqueeze(1)

    def _move(self, good: Tiles, step: Tensor, losses: Numbers) -> None:
        self.x = torch.where(self.column(good), self.x + step, self.x)
        self.loss = np.where(good, losses, self.loss)

    def _sort_out(self, acceptable: Tiles) -> tuple[Tiles, Tiles]:
        """Counts the running tiles' steps and rollbacks; returns which running tiles are good and bad."""
        good, bad = self.running & acceptable, self.running & ~acceptable
        for tile in np.flatnonzero(good):
            self.iterations[tile] += 1
        for tile in np.flatnonzero(bad):
            self.rollbacks[tile] += 1
        self.rollbacks_in_row = np.where(bad, self.rollbacks_in_row + 1, 0)
        self.end(self.rollbacks_in_row >= MOST_ROLLBACKS, Status.ROLLBACKS)
        return good, bad


def run(
    search: Search,
    method: Method,
    evaluate: Evaluate,
    evaluate_loss: EvaluateLoss,
    iterations: int,
    callback: Callback | None = None,
) -> Minimum:
    """Takes up to `iterations` steps, each with one evaluation; a rollback costs the tile its iteration.

    The last point's loss comes from `evaluate_loss`, whose last call is always at the returned x.
    """
    first = search.loss.copy()
    checked = False
    for iteration in range(1, iterations + 1):
        step = search.next_step(method)
        if not search.running.any():
            break
        if iteration < iterations:
            search.try_step(method, step, *evaluate(search.x + step))
        else:
            checked = search.try_last_step(method, step, evaluate_loss(search.x + step))
        if callback is not None:
            callback(iteration, search.loss)
    result, last = method.result(search), search.loss
    if result is not search.x or not checked:
        last = numbers(evaluate_loss(result))
        if (lost := ~np.isfinite(last) & np.isfinite(search.loss)).any():
            result = torch.where(search.column(lost), search.x, result)
            last = numbers(evaluate_loss(result))
    return Minimum(
        result, first, last, tuple(search.iterations), tuple(search.rollbacks), tuple(search.status)
    )


def shortening(search: Search) -> Numbers:
    """What a step is multiplied with after so many rollbacks in a row."""
    factors: Numbers = ROLLBACK_FACTOR**search.rollbacks_in_row
    return factors


def largest(vectors: Tensor) -> Numbers:
    """The largest absolute value of each row of (B, D), shape (B,); NaN where a row holds one."""
    return numbers(vectors.abs().amax(dim=1))


def numbers(values: Tensor) -> Numbers:
    """A tensor as a float64 array of its own."""
    result: Numbers = values.detach().double().cpu().numpy().copy()
    return result


def per_tile(values: Numbers, like: Tensor) -> Tensor:
    """Numbers (B,) as a column (B, 1) with the dtype and device of `like`."""
    return torch.from_numpy(values).to(like).unsqueeze(1)
