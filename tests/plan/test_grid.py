"""The tile grid: coverage, weights and padding, for any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.geometry import Size
from tilefarm.plan.grid import AxisGrid, Grid

lengths = st.integers(1, 3000)
even_tiles = st.integers(1, 300).map(lambda half: 2 * half)


@given(lengths, even_tiles)
@settings(deadline=None)
def test_weights_add_up_to_one_inside_the_picture(length: int, tile: int) -> None:
    axis = AxisGrid.overlapping(length, tile)
    total = np.zeros(axis.padded_length)
    cover = np.zeros(axis.padded_length, dtype=int)
    for index in range(axis.count):
        offset = axis.start(index) + axis.padding
        total[offset : offset + tile] += axis.weights()
        cover[offset : offset + tile] += 1
    inside = slice(axis.padding, axis.padding + length)
    np.testing.assert_allclose(total[inside], 1, atol=1e-6)
    assert (cover[inside] == 2).all()


@given(lengths, even_tiles)
@settings(deadline=None)
def test_padding_is_at_least_half_a_tile_on_both_sides(length: int, tile: int) -> None:
    axis = AxisGrid.overlapping(length, tile)
    assert axis.padding >= tile // 2
    assert axis.padding_after >= tile // 2
    assert abs(axis.padding - axis.padding_after) <= 1


@given(lengths, st.one_of(even_tiles, st.none()))
@settings(deadline=None)
def test_bands_cover_the_picture_once_and_name_every_tile_that_meets_them(
    length: int, tile: int | None
) -> None:
    axis = AxisGrid.whole(length) if tile is None else AxisGrid.overlapping(length, tile)
    expected = 0
    for start, stop, tiles in axis.bands():
        assert start == expected
        expected = stop
        meeting = [
            index
            for index in range(axis.count)
            if axis.start(index) < stop and axis.start(index) + axis.tile > start
        ]
        assert list(tiles) == meeting
    assert expected == length


@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 64).map(lambda n: 2 * n))
@settings(deadline=None)
def test_whole_where_the_level_fits_in_one_tile(width: int, height: int, tile: int) -> None:
    grid = Grid.of(Size(width, height), tile)
    assert grid.is_whole == (width <= tile and height <= tile)
    if not grid.is_whole:
        assert grid.tile == Size(tile, tile)


def test_whole_levels_have_a_reflected_border() -> None:
    grid = Grid.of(Size(1, 20), 512)
    assert grid.tile == Size(33, 52)
    assert (grid.box(0).left, grid.box(0).top) == (-16, -16)


def test_boxes_are_numbered_row_by_row() -> None:
    grid = Grid.of(Size(100, 60), 40)
    assert (grid.x.count, grid.y.count) == (6, 4)
    assert grid.box(1).left - grid.box(0).left == 20
    assert grid.box(6).top - grid.box(0).top == 20
    assert grid.box(6).left == grid.box(0).left


@pytest.mark.parametrize("tile", [0, 7, -2])
def test_odd_tiles_are_refused(tile: int) -> None:
    with pytest.raises(ValueError, match="even"):
        AxisGrid.overlapping(10, tile)
