"""L-BFGS above the tiles: a whole picture's optimizer whose vectors live in files.

The steps are those of `solve.lbfgs` with a batch of one. The direction comes from a small matrix of dot
products between the remembered steps, gradient changes and the gradient (Chen, Wang and Zhou 2014,
"Large-scale L-BFGS using MapReduce"), so that an iteration only streams over the vectors: once for the
products that are new, once for the step.

Point and gradient alternate between two files, and the history has one slot to spare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tilefarm.canvas.vectors import Vectors
from tilefarm.exact.optimizer import MOST_ROLLBACKS, ROLLBACK_FACTOR, Evaluate, FileOptimizer, State
from tilefarm.solve.direction import direction_coefficients
from tilefarm.solve.tolerances import CHANGE_TOLERANCE, SMALLEST_CURVATURE, unit_of

LARGEST_INCREASE = 2.0


@dataclass(frozen=True)
class LbfgsState(State):
    """Which vectors are remembered, and their dot products."""

    slots: tuple[int, ...]
    """History slots in use, oldest first."""
    dots: tuple[tuple[float, ...], ...]
    """Products of [S..., Y..., g] with each other, oldest first."""
    first_length: float
    """The first step's length: min(1 / unit, 1 / |g|_1)."""


class FileLbfgs(FileOptimizer[LbfgsState]):
    """L-BFGS on vectors in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        vectors: Vectors,
        history: int,
        evaluate: Evaluate,
        largest_increase: float = LARGEST_INCREASE,
    ) -> None:
        """A step to a loss above `largest_increase` times the present one is taken back and shortened."""
        super().__init__(folder, vectors, evaluate)
        self._largest_increase = largest_increase
        self._history = history

    def _begin(self, loss: float) -> None:
        x, g = self._x(0), self._g(0)
        length = min(1 / self._unit(loss), 1 / max(self._vectors.norm1(g), 1e-300))
        dots = self._vectors.dots([g], [g])
        state = LbfgsState(
            iteration=0,
            current=0,
            slots=(),
            dots=((float(dots[0, 0]),),),
            first_length=length,
            losses=(loss,),
            rollbacks=0,
            rollbacks_in_row=0,
            checksums={},
        )
        self._commit(state, changed=[x, g])

    def _unit(self, first_loss: float) -> float:
        return unit_of(first_loss, self._vectors.cut.length)

    def _restored(self, record: Mapping[str, Any]) -> LbfgsState | None:
        try:
            state = LbfgsState(**record)
        except TypeError:
            return None
        return replace(
            state,
            slots=tuple(state.slots),
            dots=tuple(tuple(row) for row in state.dots),
            losses=tuple(state.losses),
        )

    def step(self) -> bool:
        """One evaluation: a step, or a rollback. False when no step is left to take."""
        state = self.state
        if state.rollbacks_in_row >= MOST_ROLLBACKS:
            return False
        products = np.array(state.dots)
        coefficients = direction_coefficients(products)
        unit = self._unit(state.losses[0])
        whole = 1.0 if state.slots else 1 / unit  # without pairs the direction is -g
        if coefficients @ products[:, -1] > -CHANGE_TOLERANCE * unit / whole:  # leads no further down
            return False
        length = state.first_length if state.iteration == 0 else whole
        length *= ROLLBACK_FACTOR**state.rollbacks_in_row
        here, there = state.current, 1 - state.current
        basis = self._basis(state)
        terms = [(length * float(c), path) for c, path in zip(coefficients, basis, strict=True) if c]
        self._vectors.combine(self._x(there), [(1.0, self._x(here)), *terms])
        loss = self._evaluate(self._x(there), self._g(there))
        limit = self._largest_increase * abs(state.losses[-1])
        if loss <= limit and self._is_finite(loss, self._g(there)):
            self._accept(state, there, loss)
        else:
            self._commit_rollback(state)
        return True

    def _accept(self, state: LbfgsState, there: int, loss: float) -> None:
        """Remember the pair (s, y), work out the products that are new, and commit."""
        here = state.current
        slot = next(number for number in range(self._history + 1) if number not in state.slots)
        s, y = self._s(slot), self._y(slot)
        steps = (s, self._x(there), self._x(here)), (y, self._g(there), self._g(here))
        keep = self._vectors.differences(*steps) > SMALLEST_CURVATURE * self._unit(state.losses[0])
        slots = (*state.slots, slot)[-self._history :] if keep else state.slots
        dropped = len(state.slots) + 1 - len(slots) if keep else 0
        after = replace(
            state,
            iteration=state.iteration + 1,
            current=there,
            slots=slots,
            losses=(*state.losses, loss),
            rollbacks_in_row=0,
        )
        after = replace(after, dots=self._products(state, after, dropped, keep))
        changed = [self._x(there), self._g(there), *((s, y) if keep else ())]
        self._commit(after, changed)

    def _products(
        self, before: LbfgsState, after: LbfgsState, dropped: int, keep: bool
    ) -> tuple[tuple[float, ...], ...]:
        """The matrix of the new basis: old entries are carried over, rows of new vectors are computed."""
        basis = self._basis(after)
        pairs = len(after.slots)
        fresh = [*([pairs - 1, 2 * pairs - 1] if keep else []), 2 * pairs]
        matrix = np.zeros((2 * pairs + 1, 2 * pairs + 1))
        old_pairs = len(before.slots)
        kept = pairs - (1 if keep else 0)
        old = np.array(before.dots)
        source = [*range(dropped, old_pairs), *range(old_pairs + dropped, 2 * old_pairs)]
        target = [*range(kept), *range(pairs, pairs + kept)]
        matrix[np.ix_(target, target)] = old[np.ix_(source, source)]
        rows = self._vectors.dots(basis, [basis[index] for index in fresh])
        for column, index in enumerate(fresh):
            matrix[:, index] = matrix[index, :] = rows[:, column]
        return tuple(tuple(float(value) for value in row) for row in matrix)

    def _basis(self, state: LbfgsState) -> list[Path]:
        steps = [self._s(slot) for slot in state.slots]
        changes = [self._y(slot) for slot in state.slots]
        return [*steps, *changes, self._g(state.current)]

    def _files(self, state: LbfgsState) -> list[Path]:
        return [self._x(state.current), *self._basis(state)]

    def _x(self, number: int) -> Path:
        return self.file("x", number)

    def _g(self, number: int) -> Path:
        return self.file("g", number)

    def _s(self, slot: int) -> Path:
        return self.file("s", slot)

    def _y(self, slot: int) -> Path:
        return self.file("y", slot)
