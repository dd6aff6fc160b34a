"""Paired timing: what is compared alternates, so that a slow minute of the machine slows all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """A value that was measured several times."""

    median: float
    smallest: float
    largest: float
    count: int
    """Measurements."""

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        known = list(values)
        return cls(median(known), min(known), max(known), len(known))


def alternate(rounds: int, works: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Do all works once in each round, in their order; the seconds of each by name and round.

    Call a work once beforehand where its first call does more than the others.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def rates(amount: float, seconds: Sequence[float]) -> Spread:
    """`amount` per second of each round."""
    return Spread.of(amount / each for each in seconds)


def ratios(seconds: Sequence[float], others: Sequence[float]) -> Spread:
    """seconds / others, round by round. Raises ValueError where the rounds differ in number."""
    return Spread.of(mine / theirs for mine, theirs in zip(seconds, others, strict=True))
