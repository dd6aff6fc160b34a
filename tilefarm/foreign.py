"""Values of records that another version, or nobody of ours, may have written."""

from __future__ import annotations

import math
from typing import Any

_MOST = 10**12
"""Of anything that is counted."""


def finite_or_none(value: Any) -> float | None:
    """A number of a record; None for what is none."""
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def is_whole_number(value: Any) -> bool:
    """Whether a value of a record counts something, such as steps or levels."""
    return isinstance(value, int) and 0 <= value < _MOST
