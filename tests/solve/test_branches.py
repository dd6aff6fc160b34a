"""Sums in a tree: the same bits whoever adds up what, and when."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilefarm.solve.branches import Branch, joined, leaf, total
from tilefarm.solve.tasks import FoldedSums


def sums_of(index: int) -> dict[str, FoldedSums]:
    """Of numbers whose sum depends on the order in which they are added."""
    generator = np.random.default_rng(index)
    scale = 10.0 ** generator.integers(-8, 8)
    return {
        name: FoldedSums(scale * generator.random(1), generator.normal(0, scale, (1, 2)), np.ones((1, 3)))
        for name in ("one", "other")
    }


def bits(styles: dict[str, FoldedSums]) -> dict[str, tuple[bytes, ...]]:
    return {
        name: (sums.weights.tobytes(), sums.sums.tobytes(), sums.products.tobytes())
        for name, sums in styles.items()
    }


@given(st.integers(1, 70), st.data())
def test_the_bits_do_not_depend_on_who_adds_what(pieces: int, data: st.DataObject) -> None:
    leaves = [leaf(index, sums_of(index)) for index in range(pieces)]
    expected = bits(total(leaves, pieces))
    owners = data.draw(st.lists(st.integers(0, 5), min_size=pieces, max_size=pieces))
    at_each = [
        joined(one for one, owner in zip(leaves, owners, strict=True) if owner == who) for who in range(6)
    ]
    middle = data.draw(st.integers(0, 6))
    meetings = [
        joined(branch for each in part for branch in each) for part in (at_each[:middle], at_each[middle:])
    ]
    assert bits(total((branch for each in meetings for branch in each), pieces)) == expected


@given(st.integers(1, 1000))
def test_what_is_sent_is_few(pieces: int) -> None:
    """Of all pieces a branch for each binary digit of their number; of a row of pieces two for each."""
    nothing = [leaf(index, {}) for index in range(pieces)]
    assert len(joined(nothing)) == pieces.bit_count()
    assert len(joined(nothing[pieces // 3 :])) <= 2 * pieces.bit_length()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=100))
def test_the_sum_is_right(values: list[float]) -> None:
    leaves = [
        leaf(index, {"a": FoldedSums(np.array([value]), np.zeros((1, 1)), np.zeros((1, 1)))})
        for index, value in enumerate(values)
    ]
    found = total(leaves, len(values))["a"].weights[0]
    assert found == pytest.approx(sum(values), rel=1e-12, abs=1e-7)


@pytest.mark.parametrize(
    "branches",
    [[leaf(0, {})], [leaf(1, {}), leaf(2, {})], [leaf(0, {}), leaf(0, {})], [Branch(0, 4, {})], []],
)
def test_what_is_missing_is_noticed(branches: list[Branch]) -> None:
    with pytest.raises(ValueError, match="of 2 pieces"):
        total(branches, 2)
