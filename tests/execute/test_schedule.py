"""The scheduler alone, with workers in simulated time: who gets what, and how long it all takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulated_work import (
    LOOK_SECONDS,
    Change,
    Mishap,
    SimulatedFarm,
    least_seconds,
    make_schedule,
)
from tilefarm.execute.assignment import Given, Workers
from tilefarm.execute.copies import CLEARLY
from tilefarm.execute.deadlines import Deadlines, Effort
from tilefarm.execute.protocol import MAX_ATTEMPTS
from tilefarm.execute.schedule import Schedule

PACES = st.lists(st.floats(20, 400), min_size=1, max_size=8)
Make = Callable[[Iterable[int], Deadlines, Callable[[int], Effort]], Schedule[int]]


def check_time(make: Make, paces: Sequence[float], count: int) -> None:
    told = SimulatedFarm(paces, [1] * count, make, fair=True).run()
    assert sorted(told.done) == list(range(count))
    # for each of at most two looks that an end may wait for one
    assert told.seconds <= CLEARLY * least_seconds(paces, count) + 2 * LOOK_SECONDS


def check_losers(make: Make) -> None:
    """Calls that take longer than is known of their workers: 1 and 2 are overtaken by 0, and 1 ends while
    the copy of what 2 has is under way."""
    times = {(1, 1): 4.5, (2, 2): 20.0, (0, 2): 3.0}
    farm = SimulatedFarm([10.0] * 3, [1] * 3, make, noise=lambda worker, item: times.get((worker, item), 1))
    told = farm.run()
    assert told.done == [0, 1, 2]
    assert told.copies == 2
    assert 45 < told.seconds < 70
    assert told.wasted == pytest.approx(45 + told.seconds)


@settings(max_examples=100, deadline=None)
@given(PACES, st.integers(1, 40))
def test_workers_of_any_speed_need_a_tenth_more_than_the_least_possible_time(
    paces: list[float], count: int
) -> None:
    """Pieces of one size and paces that were measured before: the bound that `copies.py` reasons about."""
    check_time(make_schedule, paces, count)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(20, 200), min_size=2, max_size=6), st.integers(8, 16), st.randoms())
def test_speeds_are_learned_on_the_way(paces: list[float], each: int, random: Any) -> None:
    """Nothing is known at first, and times vary by a tenth either way, so the bound has room for that."""
    drawn: dict[tuple[int, int], float] = {}

    def noise(worker: int, item: int) -> float:
        return drawn.setdefault((worker, item), random.uniform(0.9, 1.1))

    count = each * len(paces)
    told = SimulatedFarm(paces, [1] * count, make_schedule, noise=noise, known=False, fair=True).run()
    assert told.seconds <= 1.1 * CLEARLY * least_seconds(paces, count) + 2 * LOOK_SECONDS


@settings(max_examples=40, deadline=None)
@given(PACES, st.lists(st.integers(1, 4), min_size=1, max_size=30))
def test_pieces_of_unequal_size(paces: list[float], work: list[int]) -> None:
    """They come in a fixed order: a large one at the end may begin late, and begin once more on another."""
    told = SimulatedFarm(paces, work, make_schedule, fair=True).run()
    longest = max(work) * min(paces)
    of_the_smallest = least_seconds([pace * min(work) for pace in paces], len(work))
    least = max(sum(work) / sum(1 / pace for pace in paces), longest, of_the_smallest)
    assert told.seconds <= CLEARLY * least + 2 * longest + 2 * LOOK_SECONDS


@settings(max_examples=50, deadline=None)
@given(PACES, st.integers(1, 40), st.booleans())
def test_copies_waste_less_than_a_piece_per_worker(paces: list[float], count: int, known: bool) -> None:
    told = SimulatedFarm(paces, [1] * count, make_schedule, known=known).run()
    assert told.copies <= count
    assert sum(told.given.values()) == count + told.copies
    assert told.wasted <= sum(min(pace, told.seconds) for pace in paces)


def test_the_slower_copy_is_neither_counted_nor_waited_for() -> None:
    check_losers(make_schedule)


def test_equal_workers_get_no_copies() -> None:
    told = SimulatedFarm([30.0] * 5, [1] * 23, make_schedule).run()
    assert told.copies == 0
    assert told.seconds == 5 * 30


MISHAPS = st.dictionaries(
    st.integers(0, 29), st.lists(st.builds(Mishap, st.sampled_from(["raise", "die"])), max_size=2), max_size=8
)
CHANGES = st.lists(
    st.builds(
        Change,
        st.floats(0, 300),
        st.sampled_from(["join", "leave", "lose"]),
        st.integers(0, 10),
        st.floats(1, 60),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(1, 60), min_size=1, max_size=6), st.integers(1, 30), MISHAPS, CHANGES, st.booleans()
)
def test_whatever_happens_every_piece_is_done_once(
    paces: list[float],
    count: int,
    mishaps: dict[int, list[Mishap]],
    changes: list[Change],
    known: bool,
) -> None:
    """Workers fail, die, come and go; limits and order of the calls are checked at every step."""
    deaths = sum(mishap.kind == "die" for each in mishaps.values() for mishap in each)
    losses = deaths + sum(change.kind != "join" for change in changes)
    farm = SimulatedFarm(paces, [1] * count, make_schedule, mishaps=mishaps, changes=changes, known=known)
    told = farm.run()
    if told.failed_for_good:  # only with the help of workers that were lost with what waited there
        assert losses
        assert len(told.failed_for_good) == 1
    else:
        assert sorted(told.done) == list(range(count))
        assert max(told.attempts.values()) <= 1 + 2 + losses


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1, 60), min_size=1, max_size=5), st.integers(0, 19))
def test_what_always_fails_is_given_up_after_three_workers(paces: list[float], poison: int) -> None:
    mishaps = {poison: [Mishap("raise")] * 20}
    told = SimulatedFarm(paces, [1] * 20, make_schedule, mishaps=mishaps).run()
    assert told.failed_for_good == [poison]
    assert 20 - len(mishaps[poison]) == MAX_ATTEMPTS


def test_a_worker_that_joins_late_takes_its_share() -> None:
    alone = SimulatedFarm([10.0], [1] * 40, make_schedule).run()
    helped = SimulatedFarm(
        [10.0], [1] * 40, make_schedule, changes=[Change(50, "join", pace=1.0)], fair=True
    ).run()
    assert alone.seconds == 400
    assert helped.seconds < 50 + 35
    assert helped.given[1] > 25


def test_nothing_begins_before_a_piece_that_needs_the_machine_for_itself() -> None:
    """No copy either, though a worker idles and the others are far slower than expected."""
    times = Deadlines(3)
    for worker in range(3):
        for turn in range(2):
            times.given(worker, 10.0 * turn)
            times.finished(worker, Effort("work", 1), 10.0 * (turn + 1))
    schedule = make_schedule(range(3), times, lambda item: Effort("work", 1))
    up, now = Workers([0, 1, 2], [0, 1, 2]), 20.0
    for item in range(3):
        assert schedule.give(up, now) == Given(item + 1, item, item)
    assert schedule.give(up, now) is None
    for number in (3, 4):  # it ends worker 2, and then, alone there, worker 1
        schedule.failed(number, up, now, suspect=True)
        if number == 3:
            schedule.done(2, now)
            again = schedule.give(up, now)
            assert again is not None
            assert (again.item, again.worker) == (2, 1)
    assert schedule.give(up, now + 100) is None
    schedule.done(1, now + 100)
    alone = schedule.give(up, now + 100)
    assert alone is not None
    assert (alone.item, alone.worker) == (2, 0)
    assert schedule.give(up, now + 200) is None


class NoCopies(Schedule[int]):
    """Everything goes to the first that has room, and stays there."""

    def _help(self, *_: Any) -> None:
        return None


class SlowestFirst(Schedule[int]):
    """Copies go to whoever idles, as fast as it may be."""

    def _help(self, workers: Workers, idle: Sequence[int], now: float) -> Given[int] | None:
        late, _ = self._expect(workers, now)
        slow = max(idle, key=lambda worker: self._times.seconds(worker, Effort("work", 1)) or 0.0)
        for _, holder, work in late:
            if holder != slow:
                return self._hand(work, slow, now, idle=True)
        return None


class Lazy(Schedule[int]):
    """One worker gets nothing as long as another has work."""

    def give(self, workers: Workers, now: float) -> Given[int] | None:
        return super().give(Workers(workers.up[:1], workers.members[:1]), now)


class Forgetful(Schedule[int]):
    """The result of a copy is taken for a first one."""

    def done(self, number: int, now: float) -> Any:
        self._calls[number].work.is_done = False
        return super().done(number, now)


class Greedy(Schedule[int]):
    """Copies of copies."""

    def _help(self, workers: Workers, idle: Sequence[int], now: float) -> Given[int] | None:
        for call in [call for call in self._calls.values() if not call.work.is_done]:
            if all(each.worker != idle[0] for each in self._calls.values() if each.work is call.work):
                return self._hand(call.work, idle[0], now, idle=True)
        return None


@pytest.mark.parametrize("bad", [NoCopies, SlowestFirst, Lazy, Forgetful, Greedy])
def test_bad_schedulers_are_found_out(bad: type[Schedule[int]]) -> None:
    """What is asserted above fails for each of them on one of these farms."""

    def make(items: Iterable[int], times: Deadlines, effort: Callable[[int], Effort]) -> Schedule[int]:
        return bad(items, times, effort, copy=lambda item: 1.0)

    farms = [([20.0, 21.0, 200.0], 9), ([20.0, 100.0, 200.0, 400.0], 4), ([25.0, 25.0, 300.0], 12)]
    for paces, count in farms:
        check_time(make_schedule, paces, count)
    with pytest.raises(AssertionError):  # noqa: PT012 - one of them is enough
        check_losers(make)
        for paces, count in farms:
            check_time(make, paces, count)
