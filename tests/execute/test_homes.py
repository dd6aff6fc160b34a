"""Where pieces of the exact method are at home, evaluation by evaluation, with workers in simulated time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulated_work import LOOK_SECONDS, SimulatedFarm, Told, least_seconds
from tilefarm.execute.deadlines import Deadlines, Effort
from tilefarm.execute.homes import FIRST_TRY, MOST_HELD, MOST_OFF, Homes
from tilefarm.execute.schedule import AHEAD, Schedule

PIECE = Effort("work", 1)
PACES = st.lists(st.floats(20, 200), min_size=1, max_size=6)


def times_of(paces: Sequence[float]) -> Deadlines:
    """As after two calls of each worker."""
    times = Deadlines(len(paces))
    measure(times, paces, 2)
    return times


def measure(times: Deadlines, paces: Sequence[float], calls: int = 9) -> None:
    for worker, pace in enumerate(paces):
        for turn in range(calls):
            times.given(worker, pace * turn)
            times.finished(worker, PIECE, pace * (turn + 1))


def share_out(homes: Homes, count: int, members: Sequence[int]) -> list[int]:
    for _ in range(2):  # how many there are is known after the first time
        homes.balance(members)
        found = [homes.of(index, "level", PIECE, members) for index in range(count)]
    return found


def longest(homes: Sequence[int], paces: Sequence[float]) -> float:
    return max(paces[worker] * pieces for worker, pieces in Counter(homes).items())


@settings(max_examples=40, deadline=None)
@given(PACES, st.integers(1, 60))
def test_pieces_are_shared_out_in_proportion_to_speed(paces: list[float], count: int) -> None:
    homes = share_out(Homes(times_of(paces)), count, range(len(paces)))
    assert longest(homes, paces) <= (1 + MOST_OFF) * least_seconds(paces, count) * (1 + 1e-9)


def test_without_any_measure_they_go_round() -> None:
    assert share_out(Homes(Deadlines(3)), 7, [0, 1, 2]) == [0, 1, 2, 0, 1, 2, 0]


@settings(max_examples=40, deadline=None)
@given(PACES, st.integers(1, 60), st.data())
def test_they_stay_while_the_balance_is_good_and_move_when_it_is_not(
    paces: list[float], count: int, data: st.DataObject
) -> None:
    times, members = times_of(paces), range(len(paces))
    homes = Homes(times)
    before = share_out(homes, count, members)
    assert homes.balance(members) == 0
    factor = st.floats(0.2, 5)
    now = [pace * data.draw(factor) for pace in paces]
    measure(times, now)
    best = least_seconds(now, count)
    moved = homes.balance(members)
    after = share_out(homes, count, members)
    assert moved == sum(one != other for one, other in zip(before, after, strict=True))
    if longest(before, now) > (1 + MOST_OFF) * best * (1 + 1e-9):
        assert moved
    assert longest(after, now) <= (1 + MOST_OFF) * best * (1 + 1e-9)
    assert homes.balance(members) == 0


def test_nothing_moves_but_what_is_too_much() -> None:
    times = times_of([20.0] * 3)
    homes = Homes(times)
    before = share_out(homes, 60, range(3))
    measure(times, [20.0, 20.0, 24.0])
    assert homes.balance(range(3)) == 0, "a tenth"
    measure(times, [20.0, 20.0, 40.0])
    assert homes.balance(range(3)) == 8
    after = share_out(homes, 60, range(3))
    assert Counter(after) == {0: 24, 1: 24, 2: 12}
    assert {home for home, then in zip(before, after, strict=True) if home != then} == {2}


def test_pieces_of_a_worker_that_left_go_to_the_others_and_no_other_moves() -> None:
    homes = Homes(times_of([20] * 4))
    before = share_out(homes, 40, range(4))
    after = share_out(homes, 40, [0, 1, 3])
    assert {home for home, then in zip(before, after, strict=True) if home != then} == {2}
    assert sorted(Counter(after).values()) == [13, 13, 14]


def test_a_worker_that_joins_gets_its_share_at_the_next_evaluation() -> None:
    times = times_of([20] * 3)
    homes = Homes(times)
    before = share_out(homes, 40, range(3))
    times.joined(0.0)
    after = share_out(homes, 40, range(4))
    assert {home for home, then in zip(after, before, strict=True) if home != then} == {3}
    assert set(Counter(after).values()) == {10}
    moved = [index for index, home in enumerate(after) if home == 3]
    assert max(later - one for one, later in pairwise(moved)) <= 12, "all over the order"


def test_a_worker_that_is_too_slow_for_any_piece_is_tried_less_and_less() -> None:
    """And stays out where it is as slow as before: after 16 and 32 evaluations without a piece."""
    times, members = times_of([20.0, 20.0, 500.0]), range(3)
    homes, tried = Homes(times), []
    for evaluation in range(100):
        homes.balance(members)
        found = [homes.of(index, "level", PIECE, members) for index in range(4)]
        if evaluation and 2 in found:
            tried.append(evaluation)
            measure(times, [20.0, 20.0, 500.0], 1)
    assert [later - one for one, later in pairwise(tried)] == [17, 33]


def test_a_worker_that_was_slow_for_a_while_is_at_work_again() -> None:
    times, members = times_of([20.0, 20.0, 500.0]), range(3)
    homes = Homes(times)
    share_out(homes, 3, members)
    for _ in range(FIRST_TRY + 1):
        found = share_out(homes, 3, members)
        if 2 in found:
            measure(times, [20.0] * 3, 1)
    assert set(found) == {0, 1, 2}


def test_a_worker_is_tried_where_many_others_would_gain_little_by_it() -> None:
    """Eight of nine do 16 pieces in the time of two; with the ninth it is no less, and yet it is measured."""
    times, members = times_of([20.0] * 8 + [500.0]), range(9)
    homes, levels = Homes(times), []
    for _ in range(2 * FIRST_TRY):
        homes.balance(members)
        levels.append([homes.of(index, "level", PIECE, members) for index in range(16)])
    assert any(8 in found for found in levels[2:])
    assert 8 not in levels[1]


def test_who_is_not_tried_stays_known_as_slow() -> None:
    """Else the next rows of vectors would give it an equal share."""
    times, members = times_of([20.0, 20.0, 500.0]), range(3)
    homes = Homes(times)
    for _ in range(10 * FIRST_TRY):
        share_out(homes, 2, members)  # one each: a third worker is of no use
    assert times.seconds(2, PIECE) == 500


def test_rows_that_do_not_fit_the_paces_are_uneven() -> None:
    times = Deadlines(3)
    homes = Homes(times)
    homes.share_out("level", [PIECE] * 30, range(3))
    assert not homes.is_uneven(range(3)), "nothing is known yet"
    measure(times, [20.0, 20.0, 24.0])
    assert not homes.is_uneven(range(3)), "a fifth"
    measure(times, [20.0, 20.0, 60.0])
    assert homes.is_uneven(range(3))
    homes.share_out("level", [PIECE] * 30, range(3))
    assert not homes.is_uneven(range(3))
    assert homes.is_uneven([0, 1]), "the third is gone"


def test_the_balance_looks_at_each_pace_once() -> None:
    """A thousand pieces on 64 workers would take half a second before every evaluation."""
    asked = []

    class Asked(Deadlines):
        def seconds(self, worker: int, effort: Effort) -> float | None:
            asked.append(worker)
            return super().seconds(worker, effort)

    homes = Homes(Asked(16))
    share_out(homes, 100, range(16))
    asked.clear()
    homes.balance(range(16))
    assert sorted(asked) == list(range(16))


@settings(max_examples=60, deadline=None)
@given(PACES, st.integers(1, 60))
def test_vectors_are_shared_out_in_rows_in_proportion_to_speed(paces: list[float], count: int) -> None:
    homes, members = Homes(times_of(paces)), range(len(paces))
    homes.share_out("level", [PIECE] * count, members)
    found = [homes.of(index, "level", PIECE, members) for index in range(count)]
    assert found == sorted(found), "pieces next to each other"
    shares = [count / pace / sum(1 / each for each in paces) for pace in paces]
    assert all(abs(found.count(worker) - share) <= 1 for worker, share in enumerate(shares))


def test_members_get_rows_in_their_order_and_large_pieces_count_for_more() -> None:
    homes = Homes(Deadlines(3))
    homes.share_out("level", [PIECE] * 6, [2, 0])
    assert [homes.of(index, "level", PIECE, [0, 1, 2]) for index in range(6)] == [2, 2, 2, 0, 0, 0]
    homes.share_out("level", [Effort("work", 5), *[PIECE] * 5], [0, 1])
    assert [homes.of(index, "level", PIECE, [0, 1]) for index in range(6)] == [0, 1, 1, 1, 1, 1]


def test_who_keeps_what() -> None:
    homes = Homes(Deadlines(2))
    assert share_out(homes, 2, [0, 1]) == [0, 1]
    assert not homes.keeps(0, 0, 0)
    homes.kept(0, 1, 3)
    assert homes.of(0, "level", PIECE, [0, 1]) == 1
    assert homes.keeps(0, 1, 3)
    assert not homes.keeps(0, 1, 4), "a new process keeps nothing"
    homes.of(0, "the next", PIECE, [0, 1])
    assert not homes.keeps(0, 1, 3)


class Evaluations:
    """Passes over the same pieces, one after the other."""

    def __init__(self, paces: Sequence[float], count: int) -> None:
        self.paces, self.count = paces, count
        self.times = Deadlines(len(paces))
        self.homes = Homes(self.times)
        self.kept: dict[int, int] = {}
        self.moved: list[int] = []

    def evaluate(self) -> Told:
        """One pass; times learned in the one before are known."""

        def make(items: Iterable[int], times: Deadlines, effort: Callable[[int], Effort]) -> Schedule[int]:
            return Schedule(
                items,
                times,
                effort,
                lambda item, members: self.homes.of(item, "level", effort(item), members),
                lambda item: 1.0 if item not in self.kept else 2.0,
            )

        self.homes.balance(range(len(self.paces)))
        kept = dict(self.kept)
        told = SimulatedFarm(
            self.paces,
            [1] * self.count,
            make,
            times=self.times,
            known=False,
            noise=lambda worker, item: 1.0 if kept.get(item, worker) == worker else 2.0,
        ).run()
        self.moved.append(sum(self.kept.get(item, at) != at for item, at in told.by.items()))
        for item, worker in told.by.items():
            self.kept[item] = worker
            self.homes.kept(item, worker, 0)
        for worker in range(len(self.paces)):  # its clock begins anew
            self.times.given(worker, 0.0)
        return told


@settings(max_examples=15, deadline=None)
@given(PACES, st.integers(30, 60))
def test_evaluations_soon_take_little_more_than_the_least_time(paces: list[float], count: int) -> None:
    """And pieces stay where they are when they do."""
    passes = Evaluations(paces, count)
    for _ in range(4):
        told = passes.evaluate()
        assert sorted(told.done) == list(range(count))
    last = passes.evaluate()
    assert last.seconds <= (1 + MOST_OFF) * least_seconds(paces, count) + 2 * LOOK_SECONDS
    assert passes.moved[-1] <= count / 10, "by copies that were faster"


@settings(max_examples=15, deadline=None)
@given(PACES)
def test_results_that_wait_for_those_before_them_are_few(paces: list[float]) -> None:
    """They are held in the driver's memory until then: what others finish while a slow one does one piece,
    in the best order, and some more."""
    passes = Evaluations(paces, 60)
    for _ in range(3):
        told = passes.evaluate()
    meanwhile = sum(max(paces) / pace for pace in paces)
    assert held_back(told.done) <= 2 * meanwhile + MOST_HELD * len(paces) + AHEAD


def held_back(order: Sequence[int]) -> int:
    """The most results that are there while one before them is not."""
    most, expected = 0, 0
    waiting: set[int] = set()
    for index in order:
        waiting.add(index)
        while expected in waiting:
            waiting.discard(expected)
            expected += 1
        most = max(most, len(waiting))
    return most
