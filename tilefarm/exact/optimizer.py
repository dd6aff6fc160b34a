"""L-BFGS above the tiles: a whole picture's optimizer whose vectors live in files.

The steps are those of `solve.lbfgs` with a batch of one. The direction comes from a small matrix of dot
products between the remembered steps, gradient changes and the gradient (Chen, Wang and Zhou 2014,
"Large-scale L-BFGS using MapReduce"), so that an iteration only streams over the vectors: once for the
products that are new, once for the step.

An iteration is committed by replacing `state.json` after its vectors are on the disk. Nothing that the
committed state speaks of is overwritten before the next commit: point and gradient alternate between two
files, and the history has one slot to spare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tilefarm.canvas import vectors
from tilefarm.errors import TilefarmError
from tilefarm.files import checksum, sync_file, write_text
from tilefarm.solve.direction import direction_coefficients

SMALLEST_CURVATURE = 1e-10
LARGEST_INCREASE = 2.0
ROLLBACK_FACTOR = 0.1
MOST_ROLLBACKS = 10

Evaluate = Callable[[Path, Path], float]
"""(point, where to write the gradient) -> loss."""


@dataclass(frozen=True)
class OptimizerState:
    """Everything that the next iteration needs besides the vectors."""

    iteration: int
    """Steps taken."""
    current: int
    """Which of the two files holds the point and its gradient."""
    slots: tuple[int, ...]
    """History slots in use, oldest first."""
    dots: tuple[tuple[float, ...], ...]
    """Products of [S..., Y..., g] with each other, oldest first."""
    first_length: float
    """The first step's length: min(1, 1 / |g|_1)."""
    losses: tuple[float, ...]
    """The loss at the start and after every step."""
    rollbacks: int
    rollbacks_in_row: int
    checksums: dict[str, int]
    """CRC-32 of every file that the state speaks of, by name."""


class FileLbfgs:
    """L-BFGS on vectors of `length` float32 values in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        length: int,
        history: int,
        evaluate: Evaluate,
        largest_increase: float = LARGEST_INCREASE,
    ) -> None:
        """A step to a loss above `largest_increase` times the present one is taken back and shortened."""
        self._largest_increase = largest_increase
        self._folder = folder
        self._length = length
        self._history = history
        self._evaluate = evaluate
        self._state: OptimizerState | None = None

    @property
    def point(self) -> Path:
        """The file of the last good point."""
        return self._x(self._known.current)

    @property
    def state(self) -> OptimizerState:
        """The committed state."""
        return self._known

    def resume(self) -> bool:
        """Take up the committed state; False where there is none, or where a file is not as committed."""
        state = _read_state(self._folder)
        if state is None or not _files_are_as_committed(self._folder, state):
            return False
        self._state = state
        return True

    def start(self, write_point: Callable[[Path], None]) -> None:
        """Begin at the point that `write_point` writes into the given file, with one evaluation.

        Raises TilefarmError where loss or gradient are not finite there.
        """
        self._folder.mkdir(exist_ok=True)
        write_point(self._x(0))
        loss = self._evaluate(self._x(0), self._g(0))
        if not (math.isfinite(loss) and vectors.is_finite(self._g(0), self._length)):
            raise TilefarmError(
                f"the loss at the start is {loss}, or its gradient is not finite: look for such pixels in "
                "the pictures, lower the objective's weights, or set compute.precision to float32"
            )
        length = min(1.0, 1.0 / max(vectors.norm1(self._g(0), self._length), 1e-300))
        dots = vectors.dots([self._g(0)], [self._g(0)], self._length)
        state = OptimizerState(
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
        self._commit(state, changed=[self._x(0), self._g(0)])

    def step(self) -> bool:
        """One evaluation: a step, or a rollback. False when no step is left to take."""
        state = self._known
        if state.rollbacks_in_row >= MOST_ROLLBACKS:
            return False
        products = np.array(state.dots)
        coefficients = direction_coefficients(products)
        if coefficients @ products[:, -1] > -1e-9:  # leads no further down
            return False
        length = state.first_length if state.iteration == 0 else 1.0
        length *= ROLLBACK_FACTOR**state.rollbacks_in_row
        here, there = state.current, 1 - state.current
        basis = self._basis(state)
        terms = [(length * float(c), path) for c, path in zip(coefficients, basis, strict=True) if c]
        vectors.combine(self._x(there), [(1.0, self._x(here)), *terms], self._length)
        loss = self._evaluate(self._x(there), self._g(there))
        limit = self._largest_increase * abs(state.losses[-1])
        if not (math.isfinite(loss) and loss <= limit and vectors.is_finite(self._g(there), self._length)):
            rolled = replace(
                state, rollbacks=state.rollbacks + 1, rollbacks_in_row=state.rollbacks_in_row + 1
            )
            self._commit(rolled, changed=[])
            return True
        self._accept(state, there, loss)
        return True

    def _accept(self, state: OptimizerState, there: int, loss: float) -> None:
        """Remember the pair (s, y), work out the products that are new, and commit."""
        here = state.current
        slot = next(number for number in range(self._history + 1) if number not in state.slots)
        s, y = self._s(slot), self._y(slot)
        vectors.combine(s, [(1.0, self._x(there)), (-1.0, self._x(here))], self._length)
        vectors.combine(y, [(1.0, self._g(there)), (-1.0, self._g(here))], self._length)
        keep = float(vectors.dots([s], [y], self._length)[0, 0]) > SMALLEST_CURVATURE
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
        self, before: OptimizerState, after: OptimizerState, dropped: int, keep: bool
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
        rows = vectors.dots(basis, [basis[index] for index in fresh], self._length)
        for column, index in enumerate(fresh):
            matrix[:, index] = matrix[index, :] = rows[:, column]
        return tuple(tuple(float(value) for value in row) for row in matrix)

    def _commit(self, state: OptimizerState, changed: list[Path]) -> None:
        known = self._state.checksums if self._state else {}
        fresh = {path.name: checksum(path) for path in changed}
        for path in changed:
            sync_file(path)
        sums = {path.name: fresh.get(path.name, known.get(path.name, 0)) for path in self._files(state)}
        state = replace(state, checksums=sums)
        write_text(self._folder / "state.json", json.dumps(asdict(state)))
        self._state = state

    @property
    def _known(self) -> OptimizerState:
        if self._state is None:
            raise RuntimeError("the optimizer was neither started nor resumed")
        return self._state

    def _basis(self, state: OptimizerState) -> list[Path]:
        steps = [self._s(slot) for slot in state.slots]
        changes = [self._y(slot) for slot in state.slots]
        return [*steps, *changes, self._g(state.current)]

    def _files(self, state: OptimizerState) -> list[Path]:
        return [self._x(state.current), *self._basis(state)]

    def _x(self, number: int) -> Path:
        return self._folder / f"x{number}.f32"

    def _g(self, number: int) -> Path:
        return self._folder / f"g{number}.f32"

    def _s(self, slot: int) -> Path:
        return self._folder / f"s{slot}.f32"

    def _y(self, slot: int) -> Path:
        return self._folder / f"y{slot}.f32"


def steps_committed(folder: Path) -> int | None:
    """How many steps an optimizer has in its folder, those taken back included; None without one."""
    state = _read_state(folder)
    return None if state is None else state.iteration + state.rollbacks


def is_committed(folder: Path) -> bool:
    """Whether an optimizer can go on from what is in the folder."""
    state = _read_state(folder)
    return state is not None and _files_are_as_committed(folder, state)


def _read_state(folder: Path) -> OptimizerState | None:
    try:
        state = OptimizerState(**json.loads((folder / "state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return replace(
        state,
        slots=tuple(state.slots),
        dots=tuple(tuple(row) for row in state.dots),
        losses=tuple(state.losses),
    )


def _files_are_as_committed(folder: Path, state: OptimizerState) -> bool:
    paths = [folder / name for name in state.checksums]
    return all(path.exists() and checksum(path) == state.checksums[path.name] for path in paths)
