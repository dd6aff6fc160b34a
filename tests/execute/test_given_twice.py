"""The last pieces are given out twice when others idle; with Ray in simulated time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.simulated_ray import Act, Actor, Farm, Ref, make_farm
from tilefarm.execute.deadlines import Effort

MP = pytest.MonkeyPatch
SLOW = 100.0


def by_worker(*seconds: float) -> Any:
    """Workers that take so long for every call."""
    return lambda actor, item: Act(seconds=seconds[actor.number])


def run(farm: Farm, items: int, **more: Any) -> dict[Any, int]:
    """Attempts by item, each of which must come once; copies may be made."""
    found: dict[Any, int] = {}
    for item, result, attempts in farm.dispatcher(copy=lambda item: 1.0, **more).run(range(items)):
        assert item == result
        assert item not in found
        found[item] = attempts
    assert sorted(found) == list(range(items))
    return found


def calls(farm: Farm) -> Counter[Any]:
    return Counter(item for actor in farm.world.actors for item in actor.given)


def test_a_slow_worker_does_not_hold_up_the_pass(monkeypatch: MP) -> None:
    farm = make_farm(monkeypatch, 3, by_worker(1, 1, SLOW))
    attempts = run(farm, 40)
    assert farm.world.time < 25  # 38 by the fast ones and two twice
    assert set(attempts.values()) == {1}
    assert sum(calls(farm).values()) == 42
    assert len(farm.fleet.leftovers) == 2
    assert farm.told == []


def test_nobody_gets_a_copy_where_none_is_allowed(monkeypatch: MP) -> None:
    farm = make_farm(monkeypatch, 3, by_worker(1, 1, SLOW))
    list(farm.dispatcher().run(range(40)))
    assert farm.world.time == 2 * SLOW
    assert set(calls(farm).values()) == {1}


def test_a_hung_worker_does_not_hold_up_the_pass(monkeypatch: MP) -> None:
    """It is ended in the next one, for its silence in work that nobody wants any more."""
    hangs = [15]

    def act(actor: Actor, item: Any) -> Act:
        if item in hangs:
            hangs.remove(item)
            return Act("hang")
        return Act()

    farm = make_farm(monkeypatch, 2, act)
    run(farm, 30)
    assert farm.world.time < 40
    assert farm.world.killed == []
    while not farm.world.killed:
        run(farm, 30)
    assert [change for _, change in farm.changes()][:1] == ["hung"]


def test_workers_that_hang_in_what_others_have_done_leave_the_deadlines_alone(monkeypatch: MP) -> None:
    """The next one that hangs is waited for no longer than the first."""
    hangs: list[int] = []

    def act(actor: Actor, item: Any) -> Act:
        if item in hangs:
            hangs.remove(item)
            return Act("hang")
        return Act()

    farm = make_farm(monkeypatch, 2, act)
    run(farm, 30)
    allowed = farm.fleet.deadlines.limit(0, [Effort("work", 2**18)])
    for killed in range(1, 5):
        hangs.append(15)
        while len(farm.world.killed) < killed:
            run(farm, 30)
        for worker in range(2):
            list(farm.dispatcher().run(range(100, 140)))
            assert farm.fleet.deadlines.limit(worker, [Effort("work", 2**18)]) == allowed


def test_what_an_item_costs_does_not_grow_with_the_farm(monkeypatch: MP) -> None:
    """Efforts are asked for about as often with 40 workers as with 2: each has a few calls to be judged."""

    def asked_for(workers: int, items: int) -> float:
        farm = make_farm(monkeypatch, workers, by_worker(*[1.0 + each / 100 for each in range(workers)]))
        asked = []

        def effort(item: Any) -> Effort:
            asked.append(item)
            return Effort("work", 2**18)

        list(farm.dispatcher(effort=effort, copy=lambda item: 1.0).run(range(items)))
        return len(asked) / items

    assert asked_for(2, 60) <= 8
    assert asked_for(40, 1200) <= 8


@pytest.mark.parametrize("kind", ["raise", "die"])
@pytest.mark.parametrize("who", ["first", "copy"])
def test_one_of_two_may_fail(monkeypatch: MP, kind: Any, who: str) -> None:
    """The other goes on with it, and it is done once."""
    started: list[int] = []

    def act(actor: Actor, item: Any) -> Act:
        if item != 20:
            return Act()
        started.append(actor.number)
        fails = (len(started) == 1) == (who == "first")
        slow = 40 if len(started) == 1 else 30
        return Act(kind, slow - 10) if fails else Act(seconds=slow)

    farm = make_farm(monkeypatch, 2, act)
    attempts = run(farm, 21)
    assert len(started) == 2
    assert len(set(started)) == 2
    assert attempts.pop(20) == 2
    assert max(attempts.values()) == 1
    list(farm.dispatcher().run(range(100, 200)))
    assert farm.fleet.leftovers == {}


def test_a_loser_that_dies_later_harms_nobody(monkeypatch: MP) -> None:
    """Its worker is lost, once, and what was left there is not done again."""

    def act(actor: Actor, item: Any) -> Act:
        if item == 20 and not actor.world.schedule_died:  # type: ignore[attr-defined]
            actor.world.schedule_died = True  # type: ignore[attr-defined]
            return Act("die", 50)
        return Act()

    farm = make_farm(monkeypatch, 2, act)
    farm.world.schedule_died = False  # type: ignore[attr-defined]
    run(farm, 21)
    assert farm.world.time < 20
    before = sum(calls(farm).values())
    for _ in range(3):
        list(farm.dispatcher().run(range(30)))
    assert [change for _, change in farm.changes()] == ["lost", "back"]
    assert farm.fleet.leftovers == {}
    assert sum(calls(farm).values()) <= before + 90 + 2, "but for what waited behind it"


def test_what_is_told_of_a_copy_is_not_passed_on(monkeypatch: MP) -> None:
    """Nor what the slower one tells after the end of the piece; deadlines take note of both."""
    farm = make_farm(monkeypatch, 2, by_worker(1, SLOW))
    told: list[Any] = []

    def ask(actor: Actor) -> Ref:
        world = actor.world
        at = next((ref for ref in actor.running if ref.at > world.time), None)
        return Ref(world.time + 0.01, None if at is None else (actor.number, at.value))

    copies: list[tuple[int, Any]] = []
    given: list[tuple[int, Any]] = []

    def on_given(worker: int, item: Any) -> None:
        if any(item == each for _, each in given):
            copies.append((worker, item))
        given.append((worker, item))

    run(farm, 12, ask=ask, tell=told.append, on_given=on_given)
    assert copies
    assert told
    assert not set(copies) & set(told)


def test_every_call_that_was_given_comes_back(monkeypatch: MP) -> None:
    """What a worker has in hand is known at any time, copies and losers too."""
    farm = make_farm(monkeypatch, 3, by_worker(1, 3, SLOW))
    hands: Counter[tuple[int, Any]] = Counter()
    finished: Counter[Any] = Counter()

    def on_returned(worker: int, item: Any, done: bool) -> None:
        hands[worker, item] -= 1
        finished[item] += done

    def on_given(worker: int, item: Any) -> None:
        hands[worker, item] += 1

    run(farm, 20, on_given=on_given, on_returned=on_returned)
    assert set(hands.values()) == {0}
    assert set(finished.values()) == {1}
