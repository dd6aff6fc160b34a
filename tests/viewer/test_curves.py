"""The losses that a display gets: the steps as they were, and never too many."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilefarm.viewer.curves import MOST_POINTS, Curves, thinned
from tilefarm.viewer.state import row_runs


def terms(total: float) -> dict[str, float]:
    return {"total": total, "content": total / 4, "style": total / 2, "tv": total / 4}


def began(level: int, iterations: int = 30) -> dict[str, Any]:
    return {"event": "LevelBegan", "level": level, "iterations": iterations}


def step(level: int, iteration: int, total: float, accepted: bool = True) -> dict[str, Any]:
    return {
        "event": "StepTaken",
        "level": level,
        "iteration": iteration,
        "accepted": accepted,
        "weighted": terms(total),
    }


def tile(level: int, number: int, index: int, total: float, tiles: int = 4) -> dict[str, Any]:
    return {
        "event": "TileFinished",
        "level": level,
        "round": number,
        "tile": index,
        "total": tiles,
        "iterations": 30,
        "weighted": terms(total),
    }


def shown(*records: dict[str, Any]) -> list[tuple[int, int, float]]:
    curves = Curves()
    for record in records:
        curves.take(record)
    for point in curves.points():
        assert point["content"] == point["total"] / 4
    return [(point["level"], point["step"], point["total"]) for point in curves.points()]


def test_steps_are_shown_as_they_were_taken() -> None:
    records = [began(0), step(0, 1, 8.0), step(0, 2, 99.0, accepted=False), step(0, 3, 4.0)]
    assert shown(*records, began(1), step(1, 1, 6.0)) == [(1, 1, 8.0), (1, 3, 4.0), (2, 1, 6.0)]


def test_what_is_told_again_replaces_what_was_told() -> None:
    records = [began(0), step(0, 1, 8.0), step(0, 2, 4.0), began(1), step(1, 1, 6.0)]
    assert shown(*records, began(0), step(0, 2, 5.0)) == [(1, 1, 8.0), (1, 2, 5.0)]
    assert shown(*records, began(0), step(0, 1, 7.0)) == [(1, 1, 7.0)]


def test_a_round_in_tiles_is_one_point_the_mean_of_the_tiles_so_far() -> None:
    records = [began(1), tile(1, 0, 0, 8.0), tile(1, 0, 1, 4.0)]
    assert shown(*records) == [(2, 30, 6.0)]
    assert shown(*records, tile(1, 0, 1, 2.0)) == [(2, 30, 5.0)], "a tile that was done again"
    assert shown(*records, tile(1, 1, 0, 2.0)) == [(2, 30, 6.0), (2, 60, 2.0)]


def test_a_level_that_was_solved_whole_keeps_its_steps() -> None:
    solved = {"event": "LevelSolved", "level": 0, "weighted": [terms(4.0), terms(2.0)]}
    assert shown(began(0), solved, tile(0, 0, 0, 2.0, tiles=1)) == [(1, 1, 4.0), (1, 2, 2.0)]
    assert shown(began(0), tile(0, 0, 0, 2.0, tiles=1)) == [(1, 30, 2.0)]


def test_a_long_run_is_thinned_and_its_ends_stay() -> None:
    curves = Curves()
    for level in range(3):
        curves.take(began(level))
        for number in range(1, 5001):
            curves.take(step(level, number, 1.0 / number))
    points = curves.points()
    assert len(points) <= MOST_POINTS
    for level in (1, 2, 3):
        mine = [point["step"] for point in points if point["level"] == level]
        assert (mine[0], mine[-1]) == (1, 5000)
        assert len(mine) > 150
        assert mine == sorted(set(mine))
    assert sum(len(level) for level in curves._levels.values()) <= 6 * MOST_POINTS


@given(st.lists(st.integers(), max_size=50), st.integers(2, 20))
def test_thinning_keeps_order_and_ends(points: list[int], most: int) -> None:
    found = thinned(points, most)
    assert len(found) == min(len(points), most)
    assert found[:1] == points[:1]
    assert found[-1:] == points[-1:]
    rest = iter(points)
    assert all(point in rest for point in found), "a subsequence"


@pytest.mark.parametrize("record", [{}, {"event": "StepTaken"}, {"event": "TileFinished", "level": 0}])
def test_a_record_of_another_version_is_an_error_for_the_caller(record: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError)):
        Curves().take(record)


@given(st.sets(st.integers(0, 40)), st.integers(1, 7))
def test_runs_of_neighbours_cover_the_tiles_row_by_row(tiles: set[int], columns: int) -> None:
    runs = [*row_runs(sorted(tiles), columns)]
    assert {tile for first, last in runs for tile in range(first, last + 1)} == tiles
    assert all(first // columns == last // columns for first, last in runs)
    joined = [(one[1], other[0]) for one, other in itertools.pairwise(runs)]
    assert all(other > one + 1 or other % columns == 0 for one, other in joined), "no run could be longer"
