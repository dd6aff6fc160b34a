"""Workers that are started and join, late, again, or never; in simulated time."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import tilefarm
from tests.simulated_ray import RESTART, Act, Actor, RaisedError, Ref, UnavailableError, World
from tilefarm.errors import ClusterError
from tilefarm.events import WorkerChanged
from tilefarm.execute import joining
from tilefarm.execute.deadlines import AwakeClock
from tilefarm.execute.health import Fleet
from tilefarm.execute.joining import LATE_SECONDS, MOST_DEATHS, READY_SECONDS, Joining
from tilefarm.execute.layout import Node, Slot, alike
from tilefarm.execute.protocol import WorkerInfo
from tilefarm.execute.roll import Roll

INFO = WorkerInfo("cpu", "test", None, 1, "float32", 1, "here", tilefarm.__version__, 2**33, 2**33)
GIB = 2**30


class Nodes(Roll):
    """A roll whose news are there at once."""

    def __init__(self, *names: str, workers: int | None = None) -> None:
        super().__init__(lambda: self.there, "cpu", workers)
        self.there = [Node(name, 8, 0, 9) for name in names]

    def news(self) -> list[Node]:
        return self.there


class Start:
    """A farm that is about to begin. What `info` says of an actor is what it answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, actors: int, roll: Roll | None = None) -> None:
        self.dying: dict[int, int] = {}
        """How many processes of an actor will end when they are greeted."""
        self.memory = False
        """Whether that is for want of memory."""
        self.world = World(actors, self._act)
        for module in ("joining", "health"):
            monkeypatch.setattr(f"tilefarm.execute.{module}.ray", self)
        monkeypatch.setattr(joining, "time", SimpleNamespace(monotonic=lambda: self.world.time))
        self.infos = dict.fromkeys(range(actors), INFO)
        self.errors: dict[int, Exception] = {}
        self.slots: list[Slot] = []
        self.ended: list[int] = []
        self.told: list[WorkerChanged] = []
        self.fleet = Fleet(clock=AwakeClock(lambda: self.world.time))
        self.fleet.grows = roll is not None
        self.joining = Joining(self.fleet, self._start, self._greet, roll)

    def begin(self, slots: tuple[Slot, ...]) -> None:
        self.joining.begin(slots)
        self.fleet.on_look = self.joining.look
        self.fleet.begin_run(self.told.append)

    def look(self, seconds: float = 1.0) -> list[tuple[int, str]]:
        """What is told by then."""
        self.world.wait([], seconds)
        self.fleet.look()
        told: list[tuple[int, str]] = [(event.worker, event.change) for event in self.told]
        self.told.clear()
        return told

    def wait(self, refs: list[Ref], timeout: float) -> Any:
        return self.world.wait(refs, timeout)

    def get(self, ref: Ref) -> Any:
        return self.world.get(ref)

    def kill(self, actor: Actor) -> None:
        self.ended.append(actor.number)

    def _act(self, actor: Actor, item: Any) -> Act:
        if actor.life < self.dying.get(actor.number, 0):
            return Act("die", 2.0, UnavailableError("low on memory" if self.memory else "gone"))
        return Act()

    def _start(self, slot: Slot) -> Actor:
        self.slots.append(slot)
        return self.world.actors[len(self.slots) - 1]

    def _greet(self, actor: Actor) -> Ref:
        ref = actor.do("greet")
        if actor.number in self.errors:
            ref.error = self.errors[actor.number]  # type: ignore[assignment]
        ref.value = (self.infos[actor.number], actor.pulse())
        return ref


def test_workers_have_the_order_in_which_they_were_started(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start(monkeypatch, 3)
    start.world.actors[0].idle_at = 5.0
    start.infos = {number: replace(INFO, process=number) for number in range(3)}
    start.begin(alike(3, 1))
    assert [info.process for info in start.joining.info] == [0, 1, 2]
    assert start.fleet.up() == [0, 1, 2]
    assert start.look() == [], "nobody joined who was there at the beginning"


def test_one_whose_process_ends_meanwhile_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start(monkeypatch, 3)
    start.world.actors[1].end(0.5, UnavailableError())
    start.begin(alike(3, 1))
    assert RESTART < start.world.time < RESTART + 10
    assert start.fleet.up() == [0, 1, 2]


@pytest.mark.parametrize("elastic", [False, True])
def test_what_a_worker_raises_at_the_start_stops_it(monkeypatch: pytest.MonkeyPatch, elastic: bool) -> None:
    start = Start(monkeypatch, 2, Nodes("a", "b") if elastic else None)
    start.errors[1] = RaisedError("no such device")
    with pytest.raises(ClusterError, match="a worker did not start: no such device"):
        start.begin(alike(2, 1))


def test_workers_of_another_version_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start(monkeypatch, 2)
    start.infos[1] = replace(INFO, version="0.0.7")
    with pytest.raises(ClusterError, match=r"workers have 0\.0\.7; install the same version on every node"):
        start.begin(alike(2, 1))


def test_nobody_is_waited_for_longer_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start(monkeypatch, 3)
    start.world.actors[2].idle_at = 1e4
    with pytest.raises(ClusterError, match="the workers were not ready after 180 s; look at 'ray status'"):
        start.begin(alike(3, 1))
    assert READY_SECONDS <= start.world.time < READY_SECONDS + 2


def test_the_last_trouble_of_one_that_did_not_come_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start(monkeypatch, 3)
    start.world.actors[2].end(0.5, UnavailableError("its machine is gone"), until=1e4)
    with pytest.raises(ClusterError, match=r"a worker did not start: (its machine is gone|restarting)"):
        start.begin(alike(3, 1))


def test_a_cluster_begins_with_those_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another job may have the rest of it for hours."""
    roll = Nodes("a", "b")
    start = Start(monkeypatch, 2, roll)
    start.world.actors[0].idle_at = 100.0
    start.begin(roll.first())
    assert LATE_SECONDS <= start.world.time < LATE_SECONDS + 5
    assert start.fleet.up() == [0]
    assert start.look() == []
    assert start.look(100.0) == [(1, "joined")]
    assert start.fleet.up() == [0, 1]


def test_new_nodes_get_workers_and_are_not_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    roll = Nodes("a")
    start = Start(monkeypatch, 3, roll)
    start.begin(roll.first())
    roll.there.append(Node("b", 3, 0, 9))
    assert start.look(1) + start.look(2) == [(1, "joined")]
    assert [(slot.node, slot.threads) for slot in start.slots] == [("a", 8), ("b", 3)]
    start.look(10)
    assert len(start.slots) == 2


def test_a_newcomer_of_no_use_is_told_once_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    roll = Nodes("a")
    start = Start(monkeypatch, 9, roll)
    start.begin(roll.first())
    start.infos[1] = replace(INFO, version="0.0.7")
    start.errors[2] = RaisedError("no such device")
    roll.there += [Node("old", 8, 0, 9), Node("broken", 8, 0, 9), Node("good", 8, 0, 9)]
    told = start.look(1) + start.look(2) + start.look(10) + start.look(10)
    assert sorted(told) == [(1, "joined"), (1, "refused"), (1, "refused")]
    assert start.ended == [1, 2]
    assert len(start.slots) == 4, "they are not started again"


def looks(start: Start, seconds: int) -> list[tuple[int, str]]:
    """What is told by then, with a look each second."""
    return [told for _ in range(seconds) for told in start.look()]


@pytest.mark.parametrize("memory", [False, True])
def test_a_newcomer_that_dies_at_every_start_is_given_up(
    monkeypatch: pytest.MonkeyPatch, memory: bool
) -> None:
    roll = Nodes("a")
    start = Start(monkeypatch, 3, roll)
    start.begin(roll.first())
    start.memory, start.dying[1] = memory, 10**6
    roll.there.append(Node("b", 8, 0, 9))
    reasons: list[str] = []
    start.fleet.listener = lambda event: reasons.append(event.reason)
    looks(start, 20)
    assert start.ended == []
    looks(start, 300)
    assert reasons == [
        f"a worker did not start: its process ended {MOST_DEATHS} times"
        + ("; its machine was low on memory" if memory else "; see Ray's logs on its machine")
    ]
    assert start.ended == [1], "or Ray would start it for ever"
    assert start.world.actors[1].life == MOST_DEATHS
    assert len(start.slots) == 2, "nobody is started anew where nobody starts"
    assert start.fleet.up() == [0]


def test_a_node_that_was_given_up_has_another_chance_when_it_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roll = Nodes("a", "b")
    start = Start(monkeypatch, 3, roll)
    start.dying[1] = 10**6
    start.begin(roll.first())
    assert looks(start, 300) == [(1, "refused")]
    gone = roll.there.pop()
    assert looks(start, 10) == []
    roll.there.append(gone)
    assert looks(start, 10) == [(1, "joined")]
    assert [slot.node for slot in start.slots] == ["a", "b", "b"]


def test_one_that_dies_less_often_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    roll = Nodes("a", "b")
    start = Start(monkeypatch, 2, roll)
    start.dying[1] = MOST_DEATHS - 1
    start.begin(roll.first())
    assert looks(start, 300) == [(1, "joined")]
    assert start.world.actors[1].given == ["greet"] * MOST_DEATHS


def test_a_slow_start_after_a_death_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked many times meanwhile, and each time Ray says that it is gone."""
    start = Start(monkeypatch, 2)
    start.world.actors[1].end(0.5, UnavailableError(), until=100.0)
    start.begin(alike(2, 1))
    assert 100 < start.world.time < 110
    assert start.fleet.up() == [0, 1]


@pytest.mark.parametrize("elastic", [False, True])
def test_nothing_begins_where_all_die_at_every_start(monkeypatch: pytest.MonkeyPatch, elastic: bool) -> None:
    start = Start(monkeypatch, 2, Nodes("a", "b") if elastic else None)
    start.dying = {0: 10**6, 1: 10**6}
    with pytest.raises(ClusterError, match=r"did not start: its process ended 5 times; see Ray's logs"):
        start.begin((Slot("a", 8, 0), Slot("b", 8, 0)))
    assert start.world.time < READY_SECONDS / 2


def test_a_node_that_left_takes_its_workers_along(monkeypatch: pytest.MonkeyPatch) -> None:
    roll = Nodes("a", "b")
    start = Start(monkeypatch, 3, roll)
    start.begin(roll.first())
    del roll.there[0]
    assert start.look() == [(0, "lost"), (0, "gone")]
    assert start.ended == [0], "or Ray would look for a way to start it again"
    assert start.fleet.members() == start.fleet.up() == [1]
    assert start.look(10) == []
    roll.there.append(Node("a again", 8, 0, 9))
    assert start.look(1) + start.look(2) == [(2, "joined")]


def test_a_number_of_workers_is_made_up_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    roll = Nodes("a", "b", workers=1)
    start = Start(monkeypatch, 3, roll)
    start.begin(roll.first())
    assert [slot.node for slot in start.slots] == ["a"]
    assert start.look(10) == []
    del roll.there[0]
    assert start.look(1) + start.look(2) == [(0, "lost"), (0, "gone"), (1, "joined")]
    assert [slot.node for slot in start.slots] == ["a", "b"]


def test_small_workers_are_set_aside_for_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    roll = Nodes("a", "b")
    start = Start(monkeypatch, 3, roll)
    start.infos[1] = replace(INFO, memory_bytes=GIB)
    start.infos[2] = replace(INFO, memory_bytes=2 * GIB)
    start.begin(roll.first())
    start.joining.leave_out(lambda info: "too small" if info.memory_bytes < 4 * GIB else None)
    assert start.look() == [(1, "set aside")]
    roll.there.append(Node("c", 8, 0, 9))
    assert start.look(1) + start.look(2) == [(2, "joined"), (2, "set aside")]
    assert start.fleet.up() == [0]
    roll.there.pop(0)
    assert start.look() == [(0, "lost"), (0, "gone")]
    assert start.fleet.up() == [1, 2], "better than none"


def test_nobody_waits_for_the_answer_of_a_head_that_is_cut_off() -> None:
    """The nodes are asked in a thread."""
    from threading import Event

    reached, cut = Event(), Event()

    def nodes() -> list[Node]:
        reached.set()
        assert cut.wait(60)
        return [Node("a", 1, 0, 1)]

    roll = Roll(nodes, "cpu", None)
    roll._asked_at = -math.inf
    assert roll.news() is None
    assert reached.wait(60)
    assert roll.news() is None
    cut.set()
    assert roll._asking is not None
    roll._asking.join(60)
    assert roll.news() == [Node("a", 1, 0, 1)]
    assert roll.news() is None, "so often nobody is asked"
