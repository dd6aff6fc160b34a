"""When searches stop and what they learn from: the rules of torch.optim.LBFGS, for losses of any unit."""

from __future__ import annotations

GRADIENT_TOLERANCE = 1e-7
CHANGE_TOLERANCE = 1e-9
SMALLEST_CURVATURE = 1e-10
"""A pair with s . y below this would make H indefinite or blow it up; it is not stored."""
USUAL_LOSS = 1e-5
"""For every value that is searched. The tolerances are absolute: a search whose loss has units that make it
very small would end, or learn nothing, at its start. One that starts below this goes as if its loss were
multiplied up to it."""


def unit_of(first_loss: float, values: int) -> float:
    """What tolerances are multiplied with: 1, or less where the loss starts below the usual."""
    usual = USUAL_LOSS * values
    small = 0 < abs(first_loss) < usual  # neither 0 nor NaN
    return max(abs(first_loss) / usual, 1e-100) if small else 1.0
