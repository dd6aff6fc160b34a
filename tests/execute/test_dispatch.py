"""Handing out work, with a stand-in for Ray whose calls are answered in the order that a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.exceptions import RayError

from tilefarm.errors import TileFailedError
from tilefarm.execute.assignment import IN_FLIGHT
from tilefarm.execute.dispatch import Dispatcher, Errand
from tilefarm.execute.health import Fleet
from tilefarm.execute.process import Pulse

ITEMS = 12


@dataclass(eq=False)
class Actor:
    """Remembers its calls; the references are the calls themselves."""

    number: int
    calls: list[Call] = field(default_factory=list)
    questions: list[Call] = field(default_factory=list)
    mute: bool = False
    """Whether it answers no questions."""

    def work(self, item: int) -> Call:
        self.calls.append(Call(self, item))
        return self.calls[-1]

    def ask(self) -> Call:
        self.questions.append(Call(self, f"{self.number}: {len(self.questions)}"))
        return self.questions[-1]


@dataclass(eq=False)
class Call:
    """An item that comes back as it is, a question that is answered, or an error."""

    actor: Actor
    value: object
    error: Exception | None = None


class StandInForRay:
    """Answers questions first, then finishes the oldest call of work in every second wait."""

    def __init__(self) -> None:
        self._waits = 0

    def wait(self, calls: list[Call], timeout: float) -> tuple[list[Call], list[Call]]:
        answered = [call for call in calls if isinstance(call.value, str) and not call.actor.mute]
        working = [call for call in calls if not isinstance(call.value, str)]
        if answered:
            return answered[:1], [call for call in calls if call is not answered[0]]
        self._waits += 1
        return (working[:1], calls[1:]) if self._waits % 2 else ([], calls)

    def get(self, call: Call) -> object:
        if call.error is not None:
            raise call.error
        return call.value


def use(monkeypatch: pytest.MonkeyPatch, stand_in: StandInForRay) -> None:
    for module in ("dispatch", "health"):
        monkeypatch.setattr(f"tilefarm.execute.{module}.ray", stand_in)


@pytest.fixture(autouse=True)
def stand_in_for_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, StandInForRay())


def dispatcher_of(actors: Sequence[Actor], call: Callable[[Any, int], Any], **more: Any) -> Dispatcher[int]:
    fleet = Fleet([*actors], [Pulse(actor.number, "here", 0) for actor in actors])
    return Dispatcher(fleet, Errand(lambda worker, item: call(actors[worker], item), str, **more))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_have_their_next_work_before_a_result_is_looked_at(workers: int) -> None:
    actors = [Actor(number) for number in range(workers)]
    dispatcher = dispatcher_of(actors, Actor.work)
    finished = 0
    for item, result, attempts in dispatcher.run(range(ITEMS)):
        assert (item, attempts) == (result, 1)
        finished += 1
        given = sum(len(actor.calls) for actor in actors)
        assert given == min(finished + IN_FLIGHT * workers, ITEMS)
    assert finished == ITEMS


def test_items_are_taken_only_when_a_worker_has_room_for_them() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for item in range(ITEMS):
            taken.append(item)
            yield item

    actors = [Actor(0), Actor(1)]
    for finished, _ in enumerate(dispatcher_of(actors, Actor.work).run(source()), 1):
        assert len(taken) <= finished + 2 * IN_FLIGHT


def test_what_workers_say_of_themselves_is_told() -> None:
    told: list[str] = []
    actors = [Actor(0), Actor(1)]
    dispatcher = dispatcher_of(actors, Actor.work, ask=Actor.ask, tell=told.append)
    assert len(list(dispatcher.run(range(ITEMS)))) == ITEMS
    assert {"0: 0", "0: 1", "1: 0", "1: 1"} <= set(told)
    assert len(told) == len(set(told))


def test_nobody_waits_for_a_worker_that_says_nothing() -> None:
    """It is asked once, and gets work and is heard like the others."""
    told: list[str] = []
    actors = [Actor(0, mute=True), Actor(1)]
    dispatcher = dispatcher_of(actors, Actor.work, ask=Actor.ask, tell=told.append)
    assert sorted(item for item, _, _ in dispatcher.run(range(ITEMS))) == list(range(ITEMS))
    assert len(actors[0].questions) == 1
    assert len(actors[1].questions) > 1
    assert told
    assert all(answer.startswith("1:") for answer in told)


def test_a_worker_that_dies_over_a_question_has_its_work_still() -> None:
    def dies(actor: Actor) -> Call:
        call = actor.ask()
        call.error = RayError("gone")
        return call

    told: list[str] = []
    dispatcher = dispatcher_of([Actor(0)], Actor.work, ask=dies, tell=told.append)
    assert [item for item, _, _ in dispatcher.run(range(ITEMS))] == list(range(ITEMS))
    assert told == []


FATAL = 5
DELIVERED: list[Call] = []


@dataclass(eq=False)
class Mortal(Actor):
    """Its process dies of one item, and with it all that it has at that time. It is restarted at once."""

    @property
    def alive(self) -> Mortal:
        return self

    def remote(self) -> Call:
        return Call(self, Pulse(100 + len(self.calls), "here", 0))

    def work(self, item: int) -> Call:
        call = super().work(item)
        unfinished = [each for each in self.calls if each.error is None and each not in DELIVERED]
        if any(each.value == FATAL for each in unfinished):
            for each in unfinished:
                each.error = RayError("gone")
        return call


@pytest.mark.parametrize("workers", [1, 2])
def test_what_kills_workers_stops_the_run_and_not_what_was_beside_it(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Delivering(StandInForRay):
        def get(self, call: Call) -> object:
            DELIVERED.append(call)
            return super().get(call)

    use(monkeypatch, Delivering())
    actors = [Mortal(number) for number in range(workers)]
    attempts: dict[int, int] = {}

    def run() -> None:
        for item, _, count in dispatcher_of(actors, Mortal.work).run(range(ITEMS)):
            attempts[item] = count

    with pytest.raises(TileFailedError, match=rf"^{FATAL} failed 3 times"):
        run()
    assert set(range(FATAL)) <= set(attempts), "what was in flight with it the first time was done alone"
    assert max(attempts.values()) <= 2
