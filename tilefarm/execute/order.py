"""Putting results back in order: floating-point sums depend on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar


class Indexed(Protocol):
    """Anything with a place in a sequence."""

    @property
    def index(self) -> int:
        """The place, from 0."""


_Part = TypeVar("_Part", bound=Indexed)


def turns(rows: Iterable[Sequence[int]]) -> list[int]:
    """What lies in rows, one for each worker, in an order in which all of them are about as far at any time.

    A schedule looks ahead only a few items: with row after row all but one worker would wait, and in plain
    rounds all would wait for the one whose row is short, since it is slow.
    """
    places = [((number + 0.5) / len(row), index) for row in rows for number, index in enumerate(row)]
    return [index for _, index in sorted(places)]


def in_order(parts: Iterable[_Part], indices: Sequence[int] | None = None) -> Iterator[_Part]:
    """The parts by index 0, 1, 2 ..., holding back those that come early.

    `indices`: another order than that, which may grow while parts come. Raises RuntimeError where a part that
    comes before others never does.
    """
    waiting: dict[int, _Part] = {}
    given = 0

    def expected() -> int | None:
        if indices is None:
            return given
        return indices[given] if given < len(indices) else None

    for part in parts:
        waiting[part.index] = part
        while (index := expected()) in waiting:
            given += 1
            yield waiting.pop(index)
    if waiting:
        raise RuntimeError(f"piece {expected()} was never finished")
