"""Workers that die, hang, fail and come back, in simulated time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulated_ray import Act, Actor, DiedError, Farm, RaisedError, UnavailableError, make_farm
from tilefarm.errors import DeviceError, IncompleteError, ResourceError, TileFailedError
from tilefarm.execute.assignment import IN_FLIGHT
from tilefarm.execute.health import FORGIVING, STRIKES
from tilefarm.execute.protocol import MAX_ATTEMPTS

MP = pytest.MonkeyPatch
ITEMS = 30


def by_number(item: int, members: Sequence[int]) -> int:
    """A home for every item."""
    return members[item % len(members)]


class OnceOnly:
    """Does something special at the first call with an item, or at the first few."""

    def __init__(self, item: Any, act: Act, times: int = 1, usual: Act | None = None) -> None:
        self.item, self.act, self.left, self.usual = item, act, times, usual or Act()

    def __call__(self, actor: Actor, item: Any) -> Act:
        if item == self.item and self.left:
            self.left -= 1
            return self.act
        return self.usual


def run(farm: Farm, items: int = ITEMS, **more: Any) -> dict[Any, int]:
    """Attempts by item; every item must come once."""
    found: dict[Any, int] = {}
    for item, result, attempts in farm.dispatcher(**more).run(range(items)):
        assert item == result
        assert item not in found
        found[item] = attempts
    assert sorted(found) == list(range(items))
    return found


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_hung_worker_is_ended_and_its_work_done_again(monkeypatch: MP, workers: int) -> None:
    farm = make_farm(monkeypatch, workers, OnceOnly(15, Act("hang")))
    attempts = run(farm)
    assert len(farm.world.killed) == 1
    assert attempts[15] == 2
    assert sum(count - 1 for count in attempts.values()) <= IN_FLIGHT
    assert [change for _, change in farm.changes()][:1] == ["hung"]
    assert len(farm.told) <= 2
    assert farm.told[0].reason.startswith("nothing was heard of it for 6")


def test_hung_in_its_very_first_call(monkeypatch: MP) -> None:
    farm = make_farm(monkeypatch, 1, OnceOnly(0, Act("hang")))
    run(farm, 3)
    assert farm.world.killed == [0]
    assert 1100 < farm.world.time < 1300  # 600 s and 2000 s for each of 0.25 megapixels


def test_calls_in_line_do_not_add_up(monkeypatch: MP) -> None:
    """50 s each, two in flight: the second answers 100 s after it was given, and nobody is hung."""
    farm = make_farm(monkeypatch, 2, lambda actor, item: Act(seconds=50))
    run(farm)
    assert farm.told == []


@pytest.mark.parametrize("slower", [5.0, 9.5])
def test_a_machine_that_becomes_slow_keeps_its_workers(monkeypatch: MP, slower: float) -> None:
    def act(actor: Actor, item: Any) -> Act:
        return Act(seconds=100 * (slower if 10 <= item < 20 else 1))

    farm = make_farm(monkeypatch, 2, act)
    run(farm)
    assert farm.told == []


def test_a_driver_that_was_stopped_ends_nobody(monkeypatch: MP) -> None:
    """An hour passes between two looks; the workers were stopped as well and go on as if nothing was."""
    farm = make_farm(monkeypatch, 2, lambda actor, item: Act(seconds=20))
    for count, _ in enumerate(farm.dispatcher().run(range(ITEMS))):
        if count == 6:
            farm.world.time += 3600
            for actor in farm.world.actors:
                actor.idle_at += 3600
                for ref in actor.running:
                    ref.at += 3600
    assert farm.told == []


def test_work_that_moves_is_not_hung(monkeypatch: MP) -> None:
    """A first tile of 3000 s that tells of every step, on a farm that knows no times yet."""
    farm = make_farm(monkeypatch, 1, lambda actor, item: Act(seconds=3000))
    steps = iter(range(10**6))
    told: list[int] = []
    run(farm, 1, ask=lambda actor: answered(farm, next(steps)), tell=told.append)
    assert farm.told == []
    assert len(told) > 100


def test_work_that_answers_and_does_not_move_is_hung(monkeypatch: MP) -> None:
    farm = make_farm(monkeypatch, 1, OnceOnly(0, Act("hang")))
    run(farm, 2, ask=lambda actor: answered(farm, 7))
    assert farm.changes()[0] == (0, "hung")


def answered(farm: Farm, value: Any) -> Any:
    from tests.simulated_ray import Ref

    return Ref(farm.world.time + 0.001, value)


@pytest.mark.parametrize("workers", [2, 4])
def test_slow_work_that_was_ended_has_more_time_the_next_time(monkeypatch: MP, workers: int) -> None:
    """One tile of 100 that take a second takes 150 s: too long for the deadline, not for the doubled ones."""
    farm = make_farm(monkeypatch, workers, lambda actor, item: Act(seconds=150 if item == 25 else 1))
    assert run(farm, 300)[25] == 3  # 60 s were too short, 120 s too, 240 s are not
    assert len(farm.world.killed) == 2


def test_a_worker_that_fails_three_times_is_set_aside(monkeypatch: MP) -> None:
    def act(actor: Actor, item: Any) -> Act:
        return Act("raise") if actor.number == 1 else Act()

    farm = make_farm(monkeypatch, 3, act)
    attempts = run(farm)
    assert max(attempts.values()) == 2
    assert farm.changes() == [(1, "set aside")]
    assert STRIKES <= len(farm.world.actors[1].given) <= STRIKES + IN_FLIGHT
    assert farm.told[0].left == 2
    assert farm.told[0].reason.endswith("went wrong")
    before = len(farm.world.actors[1].given)
    run(farm)
    assert len(farm.world.actors[1].given) == before, "for the rest of the run"


def test_the_only_worker_that_is_up_is_not_set_aside(monkeypatch: MP) -> None:
    farm = make_farm(
        monkeypatch, 1, lambda actor, item: Act("raise" if actor.given.count(item) == 1 else "work")
    )
    run(farm)
    assert farm.told == []


def test_workers_set_aside_work_where_no_other_is_up(monkeypatch: MP) -> None:
    def act(actor: Actor, item: Any) -> Act:
        if actor.number == 1 and len(actor.given) <= 3:
            return Act("raise")
        return Act("die") if item == 20 and actor.number == 0 else Act()

    farm = make_farm(monkeypatch, 2, act)
    run(farm)
    assert farm.changes()[:2] == [(1, "set aside"), (0, "lost")]
    assert len(farm.world.actors[1].given) > 5


def test_long_good_work_wipes_out_failures(monkeypatch: MP) -> None:
    """A machine that is taken three times in a night, with much work done in between, is not set aside."""
    deaths = {10, 10 + 3 * FORGIVING, 10 + 6 * FORGIVING}

    def act(actor: Actor, item: Any) -> Act:
        if actor.number == 0 and item in deaths:
            deaths.discard(item)
            return Act("die")
        return Act()

    farm = make_farm(monkeypatch, 2, act)
    # by home, worker 0 gets the even ones
    run(farm, 12 * FORGIVING, home=by_number)
    assert [change for _, change in farm.changes()] == ["lost", "back"] * 3


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_poison_stops_the_run_after_three_workers(monkeypatch: MP, workers: int) -> None:
    on: list[int] = []

    def act(actor: Actor, item: Any) -> Act:
        if item == 4:
            on.append(actor.number)
            return Act("raise")
        return Act()

    farm = make_farm(monkeypatch, workers, act)
    with pytest.raises(TileFailedError, match=r"^4 failed 3 times, the last time with: 4 went wrong"):
        run(farm)
    assert len(on) == 3
    assert len(set(on)) == min(3, workers)


def test_other_workers_are_waited_for_before_work_is_given_up(monkeypatch: MP) -> None:
    """Workers 1 and 2 are about to come back while 0 fails: it alone cannot condemn the tile."""

    def act(actor: Actor, item: Any) -> Act:
        if actor.number:
            return Act("die", 0.1) if len(actor.given) == 1 else Act(seconds=0.1)
        return Act("raise", 0.1) if item == 0 else Act(seconds=0.1)

    attempts = run(make_farm(monkeypatch, 3, act))
    assert attempts[0] == MAX_ATTEMPTS + 1, "nor does it try again and again"


def test_a_worker_that_comes_back_never_is_not_waited_for(monkeypatch: MP) -> None:
    def act(actor: Actor, item: Any) -> Act:
        if actor.number == 0:
            actor.world.schedule(1.5, lambda: setattr(actor, "down_until", float("inf")))
            return Act("die")
        return Act()

    farm = make_farm(monkeypatch, 2, act)
    run(farm)
    assert (0, "gone") in farm.changes()
    assert farm.fleet.members() == [1]


def test_no_worker_left_at_once(monkeypatch: MP) -> None:
    def act(actor: Actor, item: Any) -> Act:
        actor.world.schedule(1.5, lambda: setattr(actor, "down_until", float("inf")))
        return Act("die", error=DiedError())

    farm = make_farm(monkeypatch, 1, act)
    with pytest.raises(IncompleteError, match="no worker is left: Ray starts none again; resume"):
        run(farm)
    assert farm.world.time < 10


def test_a_restart_that_never_comes(monkeypatch: MP) -> None:
    def act(actor: Actor, item: Any) -> Act:
        actor.world.schedule(1.5, lambda: setattr(actor, "down_until", 1e9))
        return Act("die")

    farm = make_farm(monkeypatch, 2, act)
    with pytest.raises(IncompleteError, match=r"no worker is left: .* come back in 120 s"):
        run(farm)
    assert 120 < farm.world.time < 140


def test_workers_that_are_down_when_a_pass_begins(monkeypatch: MP) -> None:
    """The only worker was lost at the end of a pass: the next one waits and loses nothing."""
    farm = make_farm(monkeypatch, 1)
    run(farm, 3)
    farm.world.actors[0].end(farm.world.time, UnavailableError())
    farm.fleet.lost(0, UnavailableError())
    assert set(run(farm, 5).values()) == {1}


def test_work_that_nobody_waits_for_any_more_is_known_in_the_next_pass(monkeypatch: MP) -> None:
    farm = make_farm(monkeypatch, 1, OnceOnly(1, Act(seconds=400), usual=Act(seconds=30)))
    results: Iterator[Any] = farm.dispatcher().run(range(ITEMS))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(farm.fleet.leftovers) == IN_FLIGHT
    run(farm)
    assert farm.told == []
    assert farm.fleet.leftovers == {}


def test_a_broken_gpu_gets_a_new_process(monkeypatch: MP) -> None:
    class BrokenError(RaisedError, DeviceError):
        pass

    farm = make_farm(monkeypatch, 2, OnceOnly(3, Act("raise", error=BrokenError("cuda:0 failed"))))
    attempts = run(farm)
    assert farm.world.killed in ([0], [1])
    assert [change for _, change in farm.changes()] == ["lost", "back"]
    assert farm.told[0].reason == "cuda:0 failed"
    assert attempts[3] == 2


def test_what_runs_out_of_memory_gets_the_machine_to_itself(monkeypatch: MP) -> None:
    beside: list[int] = []

    def act(actor: Actor, item: Any) -> Act:
        world = actor.world
        others = [
            each
            for each in world.actors
            if each is not actor and any(ref.at > world.time and ref.error is None for ref in each.running)
        ]
        if item == 7:
            beside.append(len(others))
            return Act("die" if others else "work")
        return Act()

    farm = make_farm(monkeypatch, 3, act)
    attempts = run(farm, 90)  # enough for the others to have work all the time
    assert attempts[7] == 3
    assert beside[-1] == 0


def test_fewer_workers_work_once_memory_was_short(monkeypatch: MP) -> None:
    def act(actor: Actor, item: Any) -> Act:
        if item == 9 and actor.life == 0 and not any(each.memory_kills for each in actor.world.actors):
            for each in actor.world.actors:
                each.memory_kills = 1
            return Act("die")
        return Act()

    farm = make_farm(monkeypatch, 4, act)
    run(farm, 60)
    assert [change for _, change in farm.changes()] == ["lost", "fewer", "back"]
    assert farm.fleet.memory_deaths == 1
    assert len(farm.fleet.up()) == 2
    given = [len(actor.given) for actor in farm.world.actors]
    run(farm, 60)
    worked = [len(actor.given) - count for actor, count in zip(farm.world.actors, given, strict=True)]
    assert sum(count > 0 for count in worked) == 2


def test_what_dies_of_memory_alone_ends_the_run_with_the_way_out(monkeypatch: MP) -> None:
    low = UnavailableError("Task was killed due to the node running low on memory.")
    farm = make_farm(monkeypatch, 2, lambda actor, item: Act("die", error=low) if item == 4 else Act())
    with pytest.raises(ResourceError, match=r"4 failed 3 times.*tiles.size smaller or lower compute.workers"):
        run(farm)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_happens_everything_is_done_once(monkeypatch: MP, data: st.DataObject) -> None:
    """Any mixture of two mishaps per item at the most, on any number of workers, by home or not."""
    workers = data.draw(st.integers(1, 4))
    acts = st.builds(Act, st.sampled_from(["work", "raise", "die", "hang"]), st.floats(0.01, 50))
    mishaps = data.draw(st.dictionaries(st.integers(0, 19), st.lists(acts, max_size=1), max_size=6))
    by_home = data.draw(st.booleans())

    def act(actor: Actor, item: Any) -> Act:
        return mishaps[item].pop() if mishaps.get(item) else Act()

    farm = make_farm(monkeypatch, workers, act)
    attempts = run(farm, 20, home=by_number if by_home else None)
    assert max(attempts.values()) <= 3
    assert Counter(change for _, change in farm.changes() if change == "gone") == {}
    assert farm.fleet.leftovers == {}
