"""Nonlinear conjugate gradients above the tiles: the steps of `solve.cg`, with vectors in files.

All decisions are `solve.conjugate`'s; here vectors are added up and multiplied, in streams. Point, gradient
and expected gradient alternate between two files, directions between three: a step needs two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tilefarm.exact.optimizer import MOST_ROLLBACKS, FileOptimizer, State
from tilefarm.solve.conjugate import Step, advice, first_step, is_sufficient, retried, turn


@dataclass(frozen=True)
class ConjugateState(State):
    """The next step, and which of the files hold its vectors."""

    step: Step
    expected: int
    direction: int
    before: int
    """The direction before."""


class FileConjugateGradients(FileOptimizer[ConjugateState]):
    """Conjugate gradients on vectors in a folder of its own."""

    def step(self) -> bool:
        """One evaluation: a step, or a rollback. False when no step is left to take."""
        state = self.state
        if state.rollbacks_in_row >= MOST_ROLLBACKS or not state.step.descent < 0:
            return False
        here, there = state.current, 1 - state.current
        self._combine(self.file("x", there), [(1.0, self.file("x", here)), *self._terms(state)])
        gradient = self.file("g", there)
        loss = self._evaluate(self.file("x", there), gradient)
        finite = self._is_finite(loss, gradient)
        if finite and is_sufficient(state.step, state.losses[-1], loss):
            self._accept(state, there, loss)
        else:
            self._reject(state, loss if finite else math.inf, gradient)
        return True

    def _begin(self, loss: float) -> None:
        gradient = self.file("g", 0)
        self._combine(self.file("d", 0), [(-1.0, gradient)])
        self._combine(self.file("b", 0), [(1.0, gradient)])
        square = float(self._vectors.dots([gradient], [gradient])[0, 0])
        state = ConjugateState(
            iteration=0,
            current=0,
            losses=(loss,),
            rollbacks=0,
            rollbacks_in_row=0,
            checksums={},
            step=first_step(self._vectors.norm1(gradient), square),
            expected=0,
            direction=0,
            before=0,
        )
        self._commit(state, self._files(state))

    def _accept(self, state: ConjugateState, there: int, loss: float) -> None:
        """Turn to the next direction, and commit."""
        known = [self.file("g", there), self.file("b", state.expected), self.file("d", state.direction)]
        found = turn(self._vectors.dots(known, known), state.step)
        after = replace(
            state,
            iteration=state.iteration + 1,
            current=there,
            losses=(*state.losses, loss),
            rollbacks_in_row=0,
            step=found.step,
            expected=1 - state.expected,
            direction=self._spare(state),
            before=state.direction,
        )
        expected, direction = self.file("b", after.expected), self.file("d", after.direction)
        self._combine(expected, list(zip(found.expected, known[:2], strict=True)))
        self._combine(direction, list(zip(found.direction, known, strict=True)))
        self._commit(after, [self.file("x", there), self.file("g", there), expected, direction])

    def _reject(self, state: ConjugateState, loss: float, gradient: Path) -> None:
        """Shorten the step; where the whole of it becomes one direction, write that."""
        advised = 0.0
        if math.isfinite(loss):
            known = [gradient, self.file("b", state.expected)]
            products = self._vectors.dots(known, [self.file("d", state.direction)])
            advised = advice(float(products[0, 0]), float(products[1, 0]))
        step, merged = retried(
            state.step,
            first=state.rollbacks_in_row == 0,
            advised=advised,
            before=state.losses[-1],
            loss=loss,
        )
        if not merged:
            self._commit_rollback(replace(state, step=step))
            return
        spare, expected = self._spare(state), 1 - state.expected
        self._combine(self.file("d", spare), self._terms(state))
        self._combine(self.file("b", expected), [(1.0, self.file("g", state.current))])
        after = replace(state, step=step, expected=expected, direction=spare, before=state.direction)
        self._commit_rollback(after, [self.file("d", spare), self.file("b", expected)])

    def _terms(self, state: ConjugateState) -> list[tuple[float, Path]]:
        """The step as a sum."""
        along = (state.step.length, self.file("d", state.direction))
        return [(state.step.lead, self.file("d", state.before)), along] if state.step.lead else [along]

    def _combine(self, target: Path, terms: Sequence[tuple[float, Path]]) -> None:
        self._vectors.combine(target, [(factor, path) for factor, path in terms if factor])

    @staticmethod
    def _spare(state: ConjugateState) -> int:
        return next(number for number in range(3) if number not in (state.direction, state.before))

    def _restored(self, record: Mapping[str, Any]) -> ConjugateState | None:
        try:
            state = ConjugateState(**record)
            step = Step(**record["step"])
        except (TypeError, KeyError):
            return None
        return replace(state, losses=tuple(state.losses), step=step)

    def _files(self, state: ConjugateState) -> list[Path]:
        numbers = {"x": state.current, "g": state.current, "b": state.expected, "d": state.direction}
        files = [self.file(kind, number) for kind, number in numbers.items()]
        return [*files, *([self.file("d", state.before)] if state.before != state.direction else [])]
