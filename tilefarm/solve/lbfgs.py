"""L-BFGS without a line search for a batch of independent problems.

Nocedal and Wright 2006, "Numerical optimization", chapter 7.2. For each problem ("tile") alone
the iterates are those of torch.optim.LBFGS(lr=1, line_search_fn=None) up to rounding: the same
first step, curvature guard, scaling of H0 and stopping rules; for a loss that starts below
`tolerances.USUAL_LOSS` those of the loss multiplied up to it. What is added: all tiles of a batch go through
the network together, and a tile whose loss is no longer finite, or has exploded, goes back to its last good
point.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from tilefarm.solve.direction import direction_coefficients
from tilefarm.solve.history import PairHistory, dot, norm1
from tilefarm.solve.search import (
    Callback,
    Evaluate,
    EvaluateLoss,
    Minimum,
    Numbers,
    Point,
    Search,
    Status,
    Tiles,
    per_tile,
    run,
    shortening,
)
from tilefarm.solve.tolerances import CHANGE_TOLERANCE, SMALLEST_CURVATURE


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
    search = Search(evaluate, start)
    method = Lbfgs(search, min(history, max(iterations, 1)), largest_increase)
    return run(search, method, evaluate, evaluate_loss, iterations, callback)


class Lbfgs:
    """The quasi-Newton method with limited memory, `search.Method`."""

    def __init__(self, search: Search, capacity: int, largest_increase: float) -> None:
        batch, length = search.x.shape
        self._largest_increase = largest_increase
        self._history = PairHistory(batch, length, capacity, search.x)
        # The first direction is -g, whose length says nothing about the distance to the minimum.
        self._first_length = np.minimum(1 / search.unit, 1 / np.maximum(norm1(search.gradient), 1e-300))

    def propose(self, search: Search) -> Tensor:
        """The quasi-Newton step; a tile where it leads no further down has ended.

        After a rollback nothing but the length differs: point, gradient and history are the same.
        """
        dots = self._history.dots(search.gradient)
        coefficients = [direction_coefficients(matrix) for matrix in dots]
        slopes = np.array([values @ matrix[:, -1] for values, matrix in zip(coefficients, dots, strict=True)])
        # Without pairs the direction is -g, which has the unit of the loss where others have none.
        whole = np.where([len(matrix) == 1 for matrix in dots], 1 / search.unit, 1.0)
        search.end(slopes > -CHANGE_TOLERANCE * search.unit / whole, Status.NO_DESCENT)
        direction = self._history.combine(coefficients, search.gradient)
        length = np.where(np.array(search.iterations) == 0, self._first_length, whole)
        return direction * per_tile(length * shortening(search), direction)

    def acceptable(self, search: Search, losses: Numbers) -> Tiles:
        """A loss that is not far above the present one."""
        limits = np.full_like(losses, np.inf)
        if math.isfinite(self._largest_increase):
            limits[search.loss > 0] = self._largest_increase * search.loss[search.loss > 0]
        acceptable: Tiles = losses <= limits
        return acceptable

    def accepted(self, search: Search, before: Point, step: Tensor, good: Tiles) -> None:
        """Remembers the pairs of the tiles that go on, where their curvature is positive."""
        search.end_where_flat(before, step, good)
        change = search.gradient - before.gradient
        kept = good & search.running & (dot(step, change) > SMALLEST_CURVATURE * search.unit)
        self._history.push([int(tile) for tile in np.flatnonzero(kept)], step, change)

    def rejected(self, search: Search, bad: Tiles, losses: Numbers, gradient: Tensor) -> None:
        """Nothing is learned: the step is tried again, shorter."""

    def result(self, search: Search) -> Tensor:
        """The last good points."""
        return search.x
