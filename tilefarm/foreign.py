"""Values of records that another version, or nobody of ours, may have written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tilefarm.spec.values import printable

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


def counted(value: Any) -> int:
    """A whole number; raises ValueError for anything else."""
    if not is_whole_number(value):
        raise ValueError(f"{value!r} is no count")
    return int(value)


def harmless(value: Any) -> Any:
    """Parsed JSON, with all its texts printable: nothing in them steers a terminal. Raises RecursionError."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {harmless(key): harmless(each) for key, each in value.items()}
    return [harmless(each) for each in value] if isinstance(value, list) else value


def finite_terms(losses: Mapping[str, Any], terms: Iterable[str]) -> dict[str, float]:
    """Terms that can be drawn; raises ValueError where one cannot, KeyError where one is missing."""
    found = {term: finite_or_none(losses[term]) for term in terms}
    numbers = {term: value for term, value in found.items() if value is not None}
    if len(numbers) < len(found):
        raise ValueError(f"{losses} are no losses")
    return numbers
