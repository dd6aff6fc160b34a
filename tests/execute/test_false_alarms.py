"""Farms on which a hung worker could be missed, or one that works be ended; in simulated time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.simulated_ray import Act, Actor, Farm, UnavailableError, make_farm
from tilefarm.errors import ResourceError
from tilefarm.events import WorkerChanged
from tilefarm.execute.assignment import IN_FLIGHT
from tilefarm.execute.deadlines import Effort
from tilefarm.execute.dispatch import Dispatcher, Errand

MP = pytest.MonkeyPatch
ITEMS = 30


def run(farm: Farm, items: int = ITEMS, **more: Any) -> None:
    assert sorted(item for item, _, _ in farm.dispatcher(**more).run(range(items))) == list(range(items))


def abandon(farm: Farm, after: int = 1) -> None:
    """Begin a pass and give it up, as an evaluation does whose numbers are not finite."""
    results: Iterator[Any] = farm.dispatcher().run(range(ITEMS))
    for _ in range(after):
        next(results)
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("workers", "item"), [(1, 1), (3, 2)])
def test_a_worker_that_hangs_in_what_nobody_wants_any_more(monkeypatch: MP, workers: int, item: int) -> None:
    """The next pass could not give it anything, and a lone worker would be waited for for ever."""
    hangs = {item}

    def act(actor: Actor, item: Any) -> Act:
        if item in hangs:
            hangs.clear()
            return Act("hang")
        return Act(seconds=30)

    farm = make_farm(monkeypatch, workers, act)
    abandon(farm)
    assert not hangs
    while not farm.world.killed:
        run(farm, 60)
    assert [change for _, change in farm.changes()][:1] == ["hung"]
    assert farm.fleet.leftovers == {}


def test_a_worker_has_no_more_calls_because_some_are_not_wanted_any_more(monkeypatch: MP) -> None:
    def act(actor: Actor, item: Any) -> Act:
        assert sum(ref.at > actor.world.time for ref in actor.running) < IN_FLIGHT
        return Act(seconds=30)

    farm = make_farm(monkeypatch, 2, act)
    abandon(farm)
    assert len(farm.fleet.leftovers) == 2 * IN_FLIGHT
    run(farm)


def test_short_work_behind_long_work_that_nobody_wants(monkeypatch: MP) -> None:
    """Calls of 1 s are given to a worker that is busy for 400 s with a call of the pass before."""

    def act(actor: Actor, item: Any) -> Act:
        return Act(seconds=1 if isinstance(item, str) else 400)

    farm = make_farm(monkeypatch, 1, act)
    run(farm, 5)
    short = Errand[str](
        lambda worker, item: farm.world.actors[worker].do(item), str, lambda item: Effort("short", 1)
    )
    list(Dispatcher(farm.fleet, short).run([str(number) for number in range(5)]))
    results = farm.dispatcher().run(range(5))
    for _ in range(4):  # one is left
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(farm.fleet.leftovers) == 1
    list(Dispatcher(farm.fleet, short).run([str(number) for number in range(5)]))
    assert farm.told == []


@pytest.mark.parametrize("workers", [1, 4])
def test_a_driver_that_was_slow_for_a_while_ends_nobody(monkeypatch: MP, workers: int) -> None:
    """A full disk cache: every result of 100 s of work takes as long to be written, then none does."""
    farm = make_farm(monkeypatch, workers, lambda actor, item: Act(seconds=100))
    for count, _ in enumerate(farm.dispatcher().run(range(160))):
        if count < 130:
            farm.world.time += 150
    assert farm.told == []


def test_a_machine_twelve_times_slower_than_all_others_keeps_its_worker(monkeypatch: MP) -> None:
    farm = make_farm(monkeypatch, 24, lambda actor, item: Act(seconds=20 * (12 if actor.number == 0 else 1)))
    run(farm, 1200, pixels=2**16)
    assert farm.told == []
    assert len(farm.world.actors[0].given) > 4


def test_hangs_now_and_then_do_not_make_the_waits_longer(monkeypatch: MP) -> None:
    """Twelve hangs in a night; doubled every time, the last would be noticed after three days."""
    hangs = set(range(100, 1300, 100))

    def act(actor: Actor, item: Any) -> Act:
        if item in hangs:
            hangs.discard(item)
            return Act("hang")
        return Act()

    farm = make_farm(monkeypatch, 2, act)
    run(farm, 1400)
    assert len(farm.world.killed) == 12
    seconds = [float(event.reason.split()[-2]) for event in farm.told if event.change == "hung"]
    assert max(seconds) < 130


def test_a_listener_that_fails_leaves_no_worker_behind(monkeypatch: MP) -> None:
    """The disk is full when the loss of a worker is to be written down; the workers serve the next pass."""
    farm = make_farm(monkeypatch, 1)

    def full(event: WorkerChanged) -> None:
        raise ResourceError("the disk is full")

    farm.fleet.listener = full
    farm.world.actors[0].end(0.5, UnavailableError())
    with pytest.raises(ResourceError, match="disk is full"):
        run(farm)
    farm.fleet.listener = farm.told.append
    run(farm)
    assert farm.changes() == [(0, "back")]


def hanging_once() -> Callable[[Actor, Any], Act]:
    """Workers of which the first that gets item 3 hangs."""
    hangs = [True]

    def act(actor: Actor, item: Any) -> Act:
        if item == 3 and hangs:
            hangs.clear()
            return Act("hang")
        return Act()

    return act


def test_a_new_process_on_another_machine_may_have_the_old_number(monkeypatch: MP) -> None:
    """In containers workers have small numbers, the same everywhere."""
    farm = make_farm(monkeypatch, 1, hanging_once())
    pulse = Actor.pulse
    moved = lambda actor: replace(pulse(actor), process=7, node=f"machine-{actor.life}")  # noqa: E731
    monkeypatch.setattr(Actor, "pulse", moved)
    farm.fleet._conditions[0].pulse = farm.world.actors[0].pulse()
    run(farm)
    assert farm.changes() == [(0, "hung"), (0, "back")]


def test_a_process_that_answers_once_more_is_not_back(monkeypatch: MP) -> None:
    """It was ended, and its end takes 3 s: work that was given to it until then would be lost."""
    farm = make_farm(monkeypatch, 1, hanging_once())
    run(farm)
    assert farm.changes() == [(0, "hung"), (0, "back")]
    assert farm.world.actors[0].given.count(3) == 2, "once before and once after, none in between"


@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.7])
@pytest.mark.parametrize("items", [2, 3, 7])
def test_how_fast_workers_are_is_seen_in_passes_of_any_length(
    monkeypatch: MP, seconds: float, items: int
) -> None:
    """Of a call or two of each worker as of many, with the driver's own work between the passes."""
    pace = {0: seconds, 1: 2 * seconds}
    farm = make_farm(monkeypatch, 2, lambda actor, item: Act(seconds=pace[actor.number]))
    effort = Effort("work", 1000)
    for _ in range(8):
        run(farm, items, effort=lambda item: effort, home=lambda item, members: item % 2)
        farm.world.time += 0.3
    found = [farm.fleet.deadlines.seconds(worker, effort) for worker in pace]
    assert found == pytest.approx([*pace.values()])
