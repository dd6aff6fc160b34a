"""One pass in simulated time: the scheduler of a real run, with workers, links and failures of its own.

Events are taken in the order of their times. Workers and links go on by themselves; the driver has one
thread: while it reads, sends or keeps one picture, others that have arrived wait.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from tilefarm.errors import TilefarmError
from tilefarm.execute.assignment import Given
from tilefarm.execute.copies import CLEARLY, CLEARLY_AT_HOME
from tilefarm.execute.deadlines import Effort
from tilefarm.execute.homes import IN_FULL
from tilefarm.execute.order import turns
from tilefarm.execute.schedule import Schedule
from tilefarm.simulate.work import Item, Pass, Stage
from tilefarm.simulate.world import World

NOTICED_SECONDS = 1.5
"""After which the driver knows that a worker's process has ended: measured with Ray."""
LOOK_SECONDS = 0.5
"""The dispatcher looks again so often while a worker has nothing to do."""


def run_once(world: World, stage: Stage) -> None:
    """One repetition of a stage; the world's clock goes on. Raises TilefarmError as a pass does."""
    began = world.now
    for work in stage.passes:
        run_pass(world, work)
    if stage.kept:
        world.keep(stage.kept, stage.most_kept, world.now - began)
    chores = stage.chores
    world.chores(chores.pixels, chores.vectors, chores.resident, chores.synced)


def run_pass(world: World, work: Pass) -> None:
    """Do a pass; the world's clock goes on. Raises TilefarmError where work fails for good."""
    began, out, into = world.now, world.out.busy, world.into.busy
    _PassRun(world, work).run()
    world.totals.passes += world.now - began
    world.totals.link_out += world.out.busy - out
    world.totals.link_in += world.into.busy - into


@dataclass
class _Call:
    given: Given[Item]
    item: Item
    """As this worker gets it."""
    seconds: float
    """That it works on it."""
    life: int
    """How often the worker had been lost by then."""


class _PassRun:
    def __init__(self, world: World, work: Pass) -> None:
        self._world, self._work = world, work
        self._workers = world.present()
        if work.kind == "piece_sums" and not any(item.between for item in work.items):
            world.homes.balance(self._workers.members)
        if work.hands_out:
            efforts = [self._home_effort(item) for item in work.items]
            world.homes.share_out(work.level, efforts, self._workers.up or self._workers.members)
        self._schedule: Schedule[Item] = Schedule(
            self._in_turns() if work.level and not self._may_move() else work.items,
            world.times,
            self._effort,
            self._home if work.level else None,
            (lambda item: 1.0 if item.full is None else IN_FULL) if self._may_move() else None,
            CLEARLY_AT_HOME if work.level else CLEARLY,
        )
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._count = count()
        self._at = world.now
        """Of the event that is looked at."""
        self._calls: dict[int, _Call] = {}
        """By number: those that are not lost."""
        self._served: set[int] = set()
        """Machines that have what all calls share."""
        self._looking = False

    def run(self) -> None:
        """Until all is done."""
        world = self._world
        for worker, at in enumerate(world.up_at):
            if at > world.now:
                self._later(at, self._is_back, worker)
        while world.failures and world.failures[0][0] < world.now:
            self._lose(*world.failures.pop(0))  # while it had no work
        for at, worker in world.failures:
            self._later(at, self._is_lost, worker)
        self._fill()
        while self._schedule.is_open:
            if not self._events:
                raise TilefarmError("the simulated farm has nobody left to do the work")
            self._at, _, happen, what = heapq.heappop(self._events)
            happen(what)

    def _may_move(self) -> bool:
        """Vectors that lie with a worker are nowhere else."""
        return not any(item.vectors for item in self._work.items)

    def _effort(self, item: Item) -> Effort:
        return Effort(self._work.kind, item.pixels, item.steps)

    def _home_effort(self, item: Item) -> Effort:
        """Whatever is done first."""
        return Effort("piece_sums", item.pixels, item.steps)

    def _home(self, item: Item, members: Sequence[int]) -> int:
        return self._world.homes.of(item.index, self._work.level, self._home_effort(item), members)

    def _in_turns(self) -> list[Item]:
        """What lies with workers, as a run gives it out."""
        rows: dict[int, list[int]] = {}
        by_index = {item.index: item for item in self._work.items}
        for item in self._work.items:
            rows.setdefault(self._home(item, self._workers.members), []).append(item.index)
        return [by_index[index] for index in turns(rows.values())]

    def _form(self, item: Item, worker: int) -> Item:
        """As this worker gets it: in full where it keeps nothing of it."""
        world, forms = self._world, self._work.forms
        if forms:
            item = item.forms[forms[worker]]
        if item.full is None or world.homes.keeps(item.index, worker, world.lives[worker]):
            return item
        return item.full

    def _later(self, at: float, happen: Callable[[Any], None], what: Any) -> None:
        heapq.heappush(self._events, (at, next(self._count), happen, what))

    def _fill(self) -> None:
        """Hand out what the schedule gives."""
        world = self._world
        while (given := self._schedule.give(self._workers, world.now)) is not None:
            self._start(given, self._form(given.item, given.worker))
        if not self._looking and self._has_idle():
            self._looking = True
            self._later(world.now + LOOK_SECONDS, self._look, None)

    def _start(self, given: Given[Item], item: Item) -> None:
        world, number = self._world, given.worker
        worker = world.crew.workers[number]
        world.handle(item.sent, 0)
        size = float(item.sent)
        if worker.machine not in self._served:
            self._served.add(worker.machine)
            size += self._work.shared
        there = max(world.send(worker.machine, size), world.exchange(worker.machine, item.between))
        seconds = worker.call_seconds + item.pixel_steps / worker.pixel_steps_s
        if not world.warm[number]:
            world.warm[number] = True
            seconds += worker.first_call_seconds
        seconds += item.vectors / worker.vectors_s
        world.free[number] = max(there, world.free[number]) + seconds
        self._calls[given.number] = _Call(given, item, seconds, world.lives[number])
        self._later(world.free[number], self._is_computed, given.number)

    def _has_idle(self) -> bool:
        busy = {call.given.worker for call in self._calls.values()}
        return any(worker not in busy for worker in self._workers.up)

    def _look(self, _: Any) -> None:
        """Time alone may change what the schedule gives."""
        self._looking = False
        self._advance()
        self._fill()

    def _is_computed(self, number: int) -> None:
        if number in self._calls:
            call, world = self._calls[number], self._world
            world.totals.working += call.seconds
            machine = world.crew.workers[call.given.worker].machine
            self._later(world.receive(machine, call.item.received, self._at), self._arrives, number)

    def _arrives(self, number: int) -> None:
        """The driver refills first, and then is busy with the result."""
        call = self._calls.pop(number, None)
        if call is None:
            return
        self._advance()
        world = self._world
        finished = self._schedule.done(number, world.now)
        if finished is not None and self._work.kind == "piece_sums":
            world.homes.kept(call.item.index, call.given.worker, call.life)
        self._fill()
        if finished is None:
            world.totals.redone += 1
        else:
            world.handle(call.item.received, call.item.synced)

    def _lose(self, at: float, worker: int) -> None:
        """The process ends, and with it all that it kept; it is back some time after."""
        world = self._world
        world.lives[worker] += 1
        world.warm[worker] = not world.crew.workers[worker].first_call_seconds
        world.up_at[worker] = at + max(world.crew.workers[worker].restart_seconds, NOTICED_SECONDS)
        world.free[worker] = world.up_at[worker]
        self._later(world.up_at[worker], self._is_back, worker)

    def _is_lost(self, worker: int) -> None:
        world = self._world
        if world.failures and world.failures[0] == (self._at, worker):
            world.failures.pop(0)
        if world.up_at[worker] > self._at:
            return  # it is down already
        numbers = [number for number, call in self._calls.items() if call.given.worker == worker]
        for number in numbers:
            del self._calls[number]
        self._lose(self._at, worker)
        self._later(self._at + NOTICED_SECONDS, self._is_noticed, numbers)

    def _is_noticed(self, numbers: list[int]) -> None:
        """A worker's calls have failed, and are done elsewhere."""
        self._advance()
        self._workers = self._world.present()
        for number in numbers:
            self._world.totals.redone += 1
            failed = self._schedule.failed(number, self._workers, self._world.now, suspect=True)
            if failed.for_good:
                raise TilefarmError(
                    f"in the simulation a piece of work was lost {failed.times} times with its worker; "
                    "lower failures_per_hour, or make the work smaller"
                )
        self._fill()

    def _is_back(self, worker: int) -> None:
        self._advance()
        self._workers = self._world.present()
        self._fill()

    def _advance(self) -> None:
        """The driver comes to the event when it is free."""
        self._world.now = max(self._world.now, self._at)
