"""Results in the order in which they were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilefarm.execute.order import in_order


@dataclass(frozen=True)
class Part:
    index: int


@given(st.permutations(range(9)))
def test_by_index(come: list[int]) -> None:
    assert [part.index for part in in_order(map(Part, come))] == [*range(9)]


@given(st.permutations([3, 14, 15, 92, 6]), st.permutations([3, 14, 15, 92, 6]))
def test_in_another_order(asked: list[int], come: list[int]) -> None:
    assert [part.index for part in in_order(map(Part, come), asked)] == asked


def test_what_is_asked_for_may_grow() -> None:
    asked: list[int] = []

    def parts() -> Iterator[Part]:
        asked.extend([5, 2])
        yield Part(2)
        asked.append(9)
        yield Part(5)
        yield Part(9)

    assert [part.index for part in in_order(parts(), asked)] == [5, 2, 9]


@pytest.mark.parametrize("asked", [None, [0, 1]])
def test_what_never_comes_is_noticed(asked: list[int] | None) -> None:
    with pytest.raises(RuntimeError, match="piece 0 was never finished"):
        list(in_order([Part(1)], asked))
