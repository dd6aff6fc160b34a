"""What the journal means: later lines replace earlier ones, a level begun anew clears the finer ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.rundir.journal import Exported, LevelStarted, RoundDone, Started, TileDone
from tilefarm.rundir.state import RunState

Make = Callable[..., Any]

few = st.integers(0, 2)
lines = st.one_of(
    st.builds(
        LevelStarted, level=few, canvas_crc=st.integers(), targets_crc=st.just(0), seconds=st.just(0.0)
    ),
    st.builds(
        TileDone,
        level=few,
        round=few,
        tile=few,
        crc=st.integers(),
        loss_first=st.just(1.0),
        loss_last=st.just(1.0),
        rollbacks=few,
        attempts=st.integers(1, 3),
    ),
    st.builds(
        Exported,
        path=st.just("/a"),
        crc=st.just(7),
        bit_depth=st.just(8),
        dpi=st.just(1.0),
        seconds=st.just(1.0),
    ),
)


@settings(deadline=None)
@given(st.lists(lines, max_size=40))
def test_only_what_follows_the_last_beginning_counts(written: list[Any]) -> None:
    state = RunState.replay(written)
    beginnings = [-1, -1, -1]
    for level in range(3):
        for position, one in enumerate(written):
            if isinstance(one, LevelStarted) and one.level <= level:
                beginnings[level] = position
    last_start = max(beginnings)
    assert state.exports == [one for one in written[last_start + 1 :] if isinstance(one, Exported)]
    counted = []
    for level in range(3):
        for round_number in range(3):
            expected = {
                one.tile: one
                for one in written[beginnings[level] + 1 :]
                if isinstance(one, TileDone) and (one.level, one.round) == (level, round_number)
            }
            assert state.tiles_done(level, round_number) == expected
            counted += list(expected.values())
    assert state.tile_retries == sum(one.attempts - 1 for one in counted)
    assert state.rollbacks == sum(one.rollbacks for one in counted)


def test_a_run_from_its_beginning_to_its_end(line: Make) -> None:
    state = RunState()
    assert (state.started, state.levels, state.exports, state.canvas_crc(0)) == (None, {}, [], None)
    state.apply(line(Started, precision="bfloat16"))
    state.apply(line(LevelStarted, level=0, canvas_crc=10))
    assert (state.canvas_crc(0), state.rounds_done(0)) == (10, 0)
    state.apply(line(TileDone, level=0, round=0, tile=0, attempts=3, rollbacks=2))
    assert state.canvas_crc(0) == 10, "tiles alone do not change the canvas"
    state.apply(line(RoundDone, level=0, round=0, canvas_crc=11))
    assert (state.canvas_crc(0), state.rounds_done(0)) == (11, 1)
    state.apply(line(LevelStarted, level=1, canvas_crc=20))
    for number in range(2):
        state.apply(line(RoundDone, level=1, round=number, canvas_crc=21 + number))
    assert (state.canvas_crc(1), state.rounds_done(1)) == (22, 2)
    assert (state.canvas_crc(0), state.rounds_done(0)) == (11, 1)
    assert (state.tile_retries, state.rollbacks) == (2, 2)
    state.apply(line(Exported))
    assert state.exports == [line(Exported)]
    assert state.started == line(Started, precision="bfloat16")


def test_a_level_that_begins_anew_takes_the_finer_ones_and_the_output_with_it(line: Make) -> None:
    history = [
        line(Started),
        line(LevelStarted, level=0, canvas_crc=10),
        line(TileDone, level=0, round=0, tile=0),
        line(RoundDone, level=0, round=0, canvas_crc=11),
        line(LevelStarted, level=1, canvas_crc=20),
        line(TileDone, level=1, round=0, tile=0),
        line(RoundDone, level=1, round=0, canvas_crc=21),
        line(LevelStarted, level=2, canvas_crc=30),
        line(TileDone, level=2, round=0, tile=0),
        line(Exported),
    ]
    state = RunState.replay([*history, line(LevelStarted, level=1, canvas_crc=99)])
    assert state.canvas_crc(0) == 11
    assert state.canvas_crc(1) == 99
    assert state.canvas_crc(2) is None
    assert (state.rounds_done(1), state.tiles_done(1, 0), state.tiles_done(2, 0)) == (0, {}, {})
    assert list(state.tiles_done(0, 0)) == [0]
    assert state.exports == []
    assert state.started == line(Started), "choices that decide the pixels stay"


def test_a_tile_that_is_done_again_counts_once(line: Make) -> None:
    state = RunState.replay(
        [
            line(LevelStarted, level=0),
            line(TileDone, level=0, round=0, tile=4, crc=1, attempts=2),
            line(TileDone, level=0, round=0, tile=4, crc=2, attempts=1),
        ]
    )
    assert {number: tile.crc for number, tile in state.tiles_done(0, 0).items()} == {4: 2}
    assert state.tile_retries == 0
