"""Who is hung, on a clock that the test turns."""

from __future__ import annotations

from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.execute.deadlines import AwakeClock, Deadlines, Effort, Patience

PATIENCE = Patience(least=60, times=10, times_longest=3, unknown=600, unknown_per_megapixel=2000)
TILE = Effort("solve", 2**20, 30)
SECONDS = st.floats(0.01, 1e4)


def watched(seconds: list[float], effort: Effort = TILE) -> Deadlines:
    """One worker that was busy all the time, each call taking so long."""
    deadlines, now = Deadlines(1, PATIENCE), 0.0
    deadlines.given(0, now)
    deadlines.finished(0, Effort("first", 1), now)
    for each in seconds:
        now += each
        deadlines.finished(0, effort, now)
    return deadlines


@settings(deadline=None)
@given(st.lists(SECONDS, min_size=1, max_size=60))
def test_the_limit_follows_from_the_times_of_its_like(seconds: list[float]) -> None:
    expected = max(60, 10 * median(seconds), 3 * max(seconds))
    assert watched(seconds).limit(0, [TILE]) == pytest.approx(expected, rel=1e-6)


@settings(deadline=None)
@given(st.lists(SECONDS, min_size=1, max_size=20), st.floats(1, 3))
def test_work_that_takes_up_to_three_times_the_longest_is_never_hung(
    seconds: list[float], slower: float
) -> None:
    assert max(seconds) * slower <= watched(seconds).limit(0, [TILE]) * (1 + 1e-9)


@settings(deadline=None)
@given(st.floats(60, 1e4), st.integers(1, 64))
def test_larger_work_gets_more_time_in_proportion(seconds: float, times: int) -> None:
    larger = Effort("solve", TILE.pixels * times, TILE.steps)
    deadlines = watched([seconds])
    assert deadlines.limit(0, [larger]) == pytest.approx(times * deadlines.limit(0, [TILE]))


def test_of_several_calls_the_longest_counts() -> None:
    deadlines = watched([100.0])
    small = Effort("solve", 10, 1)
    assert deadlines.limit(0, [small]) == 60
    assert deadlines.limit(0, [small, TILE, small]) == pytest.approx(1000)


def test_kinds_are_not_compared_with_each_other() -> None:
    deadlines = watched([1000.0])
    assert deadlines.limit(0, [Effort("measure", 2**20)]) == 600 + 2000


def test_before_anything_has_finished_the_pixels_of_one_pass_count() -> None:
    deadlines = Deadlines(1, PATIENCE)
    assert deadlines.limit(0, [Effort("solve", 2**20, 500)]) == 600 + 2000
    assert deadlines.limit(0, [Effort("solve", 2**22, 500)]) == 600 + 8000
    assert deadlines.limit(0, [Effort("solve", 0)]) == 600


def test_the_first_call_of_a_process_has_time_to_load_the_network() -> None:
    deadlines = watched([1.0])
    assert deadlines.limit(0, [TILE]) == 60
    deadlines.restarted(0, 100.0)
    assert deadlines.limit(0, [TILE]) == 600 + 2000
    deadlines.given(0, 100.0)
    deadlines.finished(0, TILE, 110.0)
    assert deadlines.limit(0, [TILE]) == 600 + 2000
    deadlines.finished(0, TILE, 111.0)
    assert deadlines.limit(0, [TILE]) == 60


def test_everything_that_is_heard_ends_the_silence() -> None:
    deadlines = Deadlines(2, PATIENCE)
    deadlines.given(0, 5.0)
    assert deadlines.silence(0, 25.0) == 20
    for now, heard in ((30.0, deadlines.moved), (70.0, deadlines.failed), (90.0, deadlines.restarted)):
        heard(0, now)
        assert deadlines.silence(0, now + 7) == 7
    deadlines.finished(0, TILE, 120.0)
    assert deadlines.silence(0, 121.0) == 1


def test_a_call_that_waited_behind_another_is_not_measured_with_its_wait() -> None:
    deadlines = watched([])
    deadlines.given(0, 0.0)
    deadlines.moved(0, 90.0)  # progress within the first call does not make it shorter
    deadlines.finished(0, TILE, 100.0)
    deadlines.finished(0, TILE, 200.0)  # given at 0 too
    assert deadlines.limit(0, [TILE]) == pytest.approx(1000)


def test_every_kill_doubles_the_time() -> None:
    deadlines = watched([1.0])
    for doubled in (120, 240, 480):
        deadlines.killed()
        assert deadlines.limit(0, [TILE]) == doubled
    for _ in range(100):
        deadlines.killed()
    assert deadlines.limit(0, [TILE]) < 86400


def test_work_that_was_made_up_takes_a_doubling_back() -> None:
    deadlines = watched([1.0])
    deadlines.made_up()
    assert deadlines.limit(0, [TILE]) == 60
    deadlines.killed()
    deadlines.killed()
    deadlines.made_up()
    assert deadlines.limit(0, [TILE]) == 120


def test_old_times_are_forgotten() -> None:
    assert watched([5000.0] + [1.0] * 101).limit(0, [TILE]) == 60


def test_a_first_call_that_loaded_the_network_is_no_measure() -> None:
    """Half a minute for 64x64 pixels would allow 512x512 ones an hour and a half."""
    deadlines, small, large = Deadlines(1, PATIENCE), Effort("measure", 2**12), Effort("measure", 2**18)
    deadlines.given(0, 0.0)
    deadlines.finished(0, small, 30.0)
    assert deadlines.limit(0, [large]) == 600 + 500
    deadlines.finished(0, small, 30.1)
    assert deadlines.limit(0, [large]) == pytest.approx(60, rel=0.1)


def test_time_that_nobody_saw_belongs_to_the_call_or_makes_it_no_measure() -> None:
    deadlines = watched([])
    deadlines.given(0, 0.0)
    deadlines.overlooked(40.0)
    deadlines.finished(0, TILE, 60.0)
    assert deadlines.limit(0, [TILE]) == pytest.approx(1000), "a call of 100 s"
    deadlines.overlooked(5.0)
    deadlines.finished(0, TILE, 62.0)
    assert deadlines.limit(0, [TILE]) == pytest.approx(1000), "one of 2 to 7 s"
    deadlines.finished(0, TILE, 62.0)
    assert deadlines.limit(0, [TILE]) == pytest.approx(1000), "one that may have waited behind it"
    deadlines.finished(0, TILE, 72.0)
    assert deadlines.limit(0, [TILE]) == pytest.approx(550), "one of 10 s"


def test_a_slow_machine_among_many_is_measured_by_itself() -> None:
    deadlines = Deadlines(2, PATIENCE)
    for worker, seconds in ((0, 10.0), (1, 120.0)):
        deadlines.finished(worker, TILE, 0.0)
        deadlines.finished(worker, TILE, seconds)
    for count in range(1, 200):  # the fast one makes all forget the slow one
        deadlines.finished(0, TILE, 10.0 + 10 * count)
    assert deadlines.limit(0, [TILE]) == pytest.approx(100)
    assert deadlines.limit(1, [TILE]) == pytest.approx(1200)
    deadlines.restarted(1, 2000.0)
    assert deadlines.limit(1, [TILE]) == 600 + 2000, "who knows where the new process is"


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), max_size=30))
def test_time_in_which_nobody_looked_hardly_counts(steps: list[float]) -> None:
    times = iter([0.0, *(sum(steps[: count + 1]) for count in range(len(steps)))])
    clock = AwakeClock(lambda: next(times), most=2)
    counted, unseen = [], 0.0
    for _ in steps:
        counted.append(clock())
        unseen += clock.unseen
    assert counted == sorted(counted)
    assert sum(steps) == pytest.approx(unseen + (counted[-1] if counted else 0), rel=1e-6, abs=1e-3)
    assert sum(min(step, 2) for step in steps) == pytest.approx(counted[-1] if counted else 0, abs=1e-3)
