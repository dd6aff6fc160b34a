"""Adam above the tiles: the steps of `solve.adam` on a whole picture whose vectors live in files.

The state stands after a gradient has gone into the means: a step then needs no gradient of its own, and that
of the new point is folded in at once. Point and means alternate between two files; the one file of the
gradient is no part of the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilefarm.canvas.vectors import FileVectors
from tilefarm.exact.optimizer import MOST_ROLLBACKS, ROLLBACK_FACTOR, Evaluate, FileOptimizer, State
from tilefarm.solve.contract import AdamSettings
from tilefarm.solve.means import EPSILON, share

WriteMeans = Callable[[Path, Path], None]
"""Writes the means of the gradients and of their squares into the given files."""
Block = NDArray[np.float32]


@dataclass(frozen=True)
class AdamState(State):
    """How many gradients the means stand for."""

    count: int


class FileAdam(FileOptimizer[AdamState]):
    """Adam on vectors in files; what it finds is the mean of its iterates."""

    _vectors: FileVectors

    def __init__(
        self,
        folder: Path,
        vectors: FileVectors,
        settings: AdamSettings,
        evaluate: Evaluate,
        memory: tuple[WriteMeans, int] | None = None,
    ) -> None:
        """`memory` writes the means to begin with, and says of how many gradients they are."""
        super().__init__(folder, vectors, evaluate)
        self._settings = settings
        self._memory = memory

    @property
    def result(self) -> Path:
        """The file of the average, where there is one; else of the last point."""
        averaged = self._settings.averaging and self.state.iteration
        return self.file("a", self.state.current) if averaged else self.point

    @property
    def means(self) -> tuple[Path, Path]:
        """The files of the mean gradient and of its mean square."""
        return self.file("m", self.state.current), self.file("v", self.state.current)

    def step(self) -> bool:
        """One evaluation: a step, or a rollback. False when no step is left to take."""
        state = self.state
        if state.rollbacks_in_row >= MOST_ROLLBACKS:
            return False
        here, there = state.current, 1 - state.current
        size = np.float32(-self._settings.step_size * ROLLBACK_FACTOR**state.rollbacks_in_row)
        epsilon = np.float32(EPSILON)

        def move(x: Block, mean: Block, square: Block) -> Block:
            moved: Block = x + mean / (np.sqrt(square) + epsilon) * size
            return moved

        known = [self.file(kind, here) for kind in ("x", "m", "v")]
        self._vectors.transform(self.file("x", there), known, move)
        loss = self._evaluate(self.file("x", there), self.file("g", 0))
        if not self._is_finite(loss, self.file("g", 0)):
            self._commit_rollback(state)
            return True
        after = replace(
            state,
            iteration=state.iteration + 1,
            current=there,
            count=state.count + 1,
            losses=(*state.losses, loss),
            rollbacks_in_row=0,
        )
        self._fold(after, here, there)
        self._commit(after, self._files(after))
        return True

    def _begin(self, loss: float) -> None:
        count = 0
        if self._memory is not None:
            write, count = self._memory
            write(self.file("m", 1), self.file("v", 1))
        state = AdamState(
            iteration=0,
            current=0,
            losses=(loss,),
            rollbacks=0,
            rollbacks_in_row=0,
            checksums={},
            count=count + 1,
        )
        self._fold(state, 1, 0)
        self._commit(state, self._files(state))

    def _fold(self, after: AdamState, here: int, there: int) -> None:
        """Take the gradient, and the point after a step, into the means `here`; they are written `there`."""
        first, second = (share(decay, after.count) for decay in self._settings.betas)
        gradient = self.file("g", 0)
        self._mix("m", here, there, first, gradient, lambda g: g, first=after.count == 1)
        self._mix("v", here, there, second, gradient, lambda g: g * g, first=after.count == 1)
        if self._settings.averaging and after.iteration:
            weight, point = share(self._settings.averaging, after.iteration), self.file("x", there)
            self._mix("a", here, there, weight, point, lambda x: x, first=after.iteration == 1)

    def _mix(
        self,
        kind: str,
        here: int,
        there: int,
        weight: float,
        source: Path,
        of: Callable[[Block], Block],
        *,
        first: bool,
    ) -> None:
        """A mean with its newest value; the first one is the mean."""
        new, old = np.float32(weight), np.float32(1 - weight)
        if first:
            self._vectors.transform(self.file(kind, there), [source], of)
            return

        def mixed(mean: Block, value: Block) -> Block:
            total: Block = old * mean + new * of(value)
            return total

        self._vectors.transform(self.file(kind, there), [self.file(kind, here), source], mixed)

    def _restored(self, record: Mapping[str, Any]) -> AdamState | None:
        try:
            state = AdamState(**record)
        except TypeError:
            return None
        return replace(state, losses=tuple(state.losses))

    def _files(self, state: AdamState) -> list[Path]:
        kinds = ["x", "m", "v"]
        if self._settings.averaging and state.iteration:
            kinds.append("a")
        return [self.file(kind, state.current) for kind in kinds]
