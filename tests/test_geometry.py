"""Sizes and boxes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.geometry import Box, Size

sides = st.integers(1, 100_000)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (-3, 5), (5, -3)])
def test_an_empty_size_is_refused(width: int, height: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1x1, got {width}x{height}"):
        Size(width, height)


def test_a_size_knows_its_sides_and_area() -> None:
    size = Size(6000, 4500)
    assert (size.long_side, size.short_side, size.pixels, str(size)) == (6000, 4500, 27_000_000, "6000x4500")
    assert (Size(3, 7).long_side, Size(3, 7).short_side) == (7, 3)


@settings(deadline=None)
@given(sides, sides, sides)
def test_fitting_gives_the_long_side_exactly_and_keeps_the_aspect(width: int, height: int, long: int) -> None:
    fitted = Size(width, height).fit_long_side(long)
    assert fitted.long_side == long
    # the sides are those of the exact rational aspect, rounded, and never below 1
    exact = min(width, height) * long / max(width, height)
    assert abs(fitted.short_side - max(exact, 1)) <= 0.5 + 1e-6
    assert (width >= height) == (fitted.width >= fitted.height) or fitted.width == fitted.height


def test_fitting_examples() -> None:
    assert Size(896, 672).fit_long_side(224) == Size(224, 168)
    assert Size(672, 896).fit_long_side(448) == Size(336, 448)
    assert Size(10_000, 1).fit_long_side(10) == Size(10, 1)


@pytest.mark.parametrize("sides", [(0, 0, 0, 5), (0, 0, 5, 0), (4, 0, 3, 5), (0, 9, 5, 2)])
def test_an_empty_box_is_refused(sides: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        Box(*sides)


def test_a_box_is_half_open_and_may_start_outside() -> None:
    box = Box(-2, -3, 4, 2)
    assert (box.width, box.height, box.size) == (6, 5, Size(6, 5))
    assert Box.of(Size(7, 2)) == Box(0, 0, 7, 2)
    assert Box.of(Size(7, 2)).size == Size(7, 2)
