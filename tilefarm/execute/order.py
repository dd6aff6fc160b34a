"""Putting results back in order: floating-point sums depend on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar


class Indexed(Protocol):
    """Anything with a place in a sequence."""

    @property
    def index(self) -> int:
        """The place, from 0."""


_Part = TypeVar("_Part", bound=Indexed)


def in_order(parts: Iterable[_Part]) -> Iterator[_Part]:
    """The parts by index 0, 1, 2 ..., holding back those that come early.

    Raises RuntimeError where one never comes.
    """
    waiting: dict[int, _Part] = {}
    expected = 0
    for part in parts:
        waiting[part.index] = part
        while expected in waiting:
            yield waiting.pop(expected)
            expected += 1
    if waiting:
        raise RuntimeError(f"piece {expected} was never finished")
