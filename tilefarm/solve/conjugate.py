"""Nonlinear conjugate gradients as numbers only: steps as coefficients of stored vectors.

Polak and Ribiere's method with beta = max(0, beta_PR) (Nocedal and Wright 2006, equations 5.44 and 5.45),
which restarts itself: where the gradient has hardly turned, or turned back, beta is 0 and the direction
is the steepest descent. It is started anew as well where it would not lead down.

The method wants the minimum along each direction, and an evaluation is dear, so there is one per
direction, at a trial step whose length comes from the curvature along the direction before. The gradient
found there tells the curvature along this one (the secant), and with it where the minimum along it is and
which gradient to expect there: on a quadratic function exactly. The next direction is conjugate with
respect to that expected point, and the next trial step makes up for what the last one lacked ("lead") before
it goes along the new direction. So every accepted point is one that was evaluated, none is evaluated twice,
and a quadratic function of n variables needs the n directions of the exact method and one evaluation more.

A step that fails Armijo's condition (equation 3.4) is taken back. Tried next: the same with the length along
the new direction that the secant advises; then the whole step, shortened by interpolation (equation 3.58).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SUFFICIENT = 1e-4
"""Armijo's constant: the share of the promised decrease that a step must bring."""
ROUNDING = 1e-5
"""Of the loss: a rise by less is within its precision (Hager and Zhang 2005, equation 4.1)."""
FURTHEST = 1000.0
"""Times the trial step: further away the curvature of a secant says little."""
SHORTEST = 0.001
"""Times the lead: after a shorter part along the direction, what its secant shows is the error of the
expected gradient, and the search starts anew."""
GROWTH = 4.0
"""Of the step where the curvature is not positive and there is no minimum to aim at."""
_VANISHING = 1e-12
"""Of the gradient's square: an expected gradient that small is none to turn by."""


@dataclass(frozen=True)
class Step:
    """lead * (direction before) + length * direction."""

    lead: float
    length: float
    lead_slope: float
    """The gradient times lead * (direction before)."""
    slope: float
    """The gradient times the direction."""
    lead_norm: float = 0.0
    """How long the lead is."""

    @property
    def descent(self) -> float:
        """The gradient times the whole step; negative where it leads down."""
        return self.lead_slope + self.length * self.slope


@dataclass(frozen=True)
class Turn:
    """What follows an accepted step: new vectors, as coefficients of the known ones, and the next step.

    t is the gradient at the point that was accepted, b the one that was expected at the start of the last
    direction's part, d the last direction.
    """

    step: Step
    expected: tuple[float, float]
    """The gradient expected at the minimum along d, in (t, b)."""
    direction: tuple[float, float, float]
    """The new direction, in (t, b, d)."""


def first_step(norm1: float, square: float) -> Step:
    """From the start along -g; its 1-norm and square are given. As long as the first step of L-BFGS."""
    return Step(0.0, min(1.0, 1.0 / max(norm1, 1e-300)), 0.0, -square)


def is_sufficient(step: Step, before: float, loss: float) -> bool:
    """Armijo's condition, up to the precision of the loss."""
    return math.isfinite(loss) and loss <= before + SUFFICIENT * step.descent + ROUNDING * abs(before)


def turn(dots: NDArray[np.float64], taken: Step) -> Turn:
    """After a step was accepted; `dots` holds the products of [t, b, d], (3, 3)."""
    (tt, _, td), (_, bb, bd), (_, _, dd) = dots
    if not tt > 0:
        return Turn(Step(0.0, 0.0, 0.0, 0.0), (1.0, 0.0), (-1.0, 0.0, 0.0))  # this is the minimum
    length = taken.length
    if length * math.sqrt(dd) < SHORTEST * taken.lead_norm:
        return _steepest(dots, taken.lead_norm / math.sqrt(tt))
    bend = (td - bd) / length  # d H d, from the secant
    best = min(-bd / bend, FURTHEST * length) if bend > 0 else GROWTH * length
    excess = best / length - 1
    expected = np.array([1 + excess, -excess, 0.0])
    square = float(expected @ dots @ expected)
    if square <= _VANISHING * tt or bb <= 0:  # d leads to the minimum: nothing to turn to
        return _checked(dots, best, bend, np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]), best - length)
    beta = max(0.0, float(square - expected @ dots[:, 1]) / bb)
    direction = np.array([0.0, 0.0, beta]) - expected
    if expected @ dots @ direction >= 0:
        direction = -expected
    promised = -float(expected @ dots @ direction)
    norm = float(direction @ dots @ direction)
    ahead = promised * dd / (bend * norm) if bend > 0 else best * math.sqrt(dd / norm)
    return _checked(dots, best, bend, expected, direction, ahead, best - length)


def interpolated(descent: float, before: float, loss: float) -> float:
    """What to multiply a failed step with: the minimum of a parabola, between 0.1 and 0.5."""
    bend = 2 * (loss - before - descent)
    if not (math.isfinite(loss) and bend > 0):
        return 0.1
    return min(max(-descent / bend, 0.1), 0.5)


def retried(step: Step, *, first: bool, advised: float, before: float, loss: float) -> tuple[Step, bool]:
    """A step that failed, shortened; and whether all of it is one direction from now on.

    `first`: whether it failed for the first time. Then less is tried along its direction, if it follows a
    lead and still leads down; `advised` is the length, in units of the one tried, at which the secant sees
    the minimum. After that the whole step is shortened, and starts from the gradient of the good point.
    """
    if first and step.lead:
        again = replace(step, length=step.length * min(max(advised, 0.02), 0.9))
        if again.descent < 0:
            return again, False
    factor = interpolated(step.descent, before, loss)
    if step.lead:
        return Step(0.0, factor, 0.0, step.descent), True
    return replace(step, length=step.length * factor), False


def advice(td: float, bd: float) -> float:
    """Where the secant sees the minimum, in units of the length tried; 0 where it knows nothing."""
    return -bd / (td - bd) if math.isfinite(td) and td > bd else 0.0


def _checked(
    dots: NDArray[np.float64],
    best: float,
    bend: float,
    expected: NDArray[np.float64],
    direction: NDArray[np.float64],
    ahead: float,
    lead: float = 0.0,
) -> Turn:
    """The turn, or steepest descent where its step would not lead down."""
    step = Step(lead, ahead, lead * float(dots[0, 2]), float(dots[0] @ direction))
    step = replace(step, lead_norm=abs(lead) * math.sqrt(dots[2, 2]))
    if not step.descent < 0:
        return _steepest(dots, dots[2, 2] / bend if bend > 0 else best * math.sqrt(dots[2, 2] / dots[0, 0]))
    t, b, _ = (float(value) for value in expected)
    return Turn(step, (t, b), (float(direction[0]), float(direction[1]), float(direction[2])))


def _steepest(dots: NDArray[np.float64], length: float) -> Turn:
    """A new start along -t."""
    return Turn(Step(0.0, float(length), 0.0, -float(dots[0, 0])), (1.0, 0.0), (-1.0, 0.0, 0.0))
