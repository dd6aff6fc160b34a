"""Handing out work to actors: bounded in flight, failures done again elsewhere, the hung ended.

How the actors are is the fleet's to know (`health.py`), and when silence is too long `deadlines.py`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError

from tilefarm.errors import DeviceError, ResourceError, TileFailedError, TilefarmError
from tilefarm.execute.deadlines import Effort
from tilefarm.execute.health import Fleet, Leftover, is_loss, last_line
from tilefarm.execute.protocol import MAX_ATTEMPTS

IN_FLIGHT = 2
"""Calls per actor: one that runs and one whose tile is already there when it ends."""
POLL_SECONDS = 0.5
ASK_SECONDS = 5.0
"""Workers are asked for their progress so often even while others finish one piece after the other."""

_Item = TypeVar("_Item")


def _give_up(item: object, message: str, error: str) -> TilefarmError:
    return TileFailedError(message)


@dataclass(frozen=True)
class Errand(Generic[_Item]):
    """What is done with the items of one pass."""

    call: Callable[[Any, _Item], Any]
    """(actor, item): starts the work and returns a reference."""
    name: Callable[[_Item], str]
    """For messages."""
    effort: Callable[[_Item], Effort] = lambda item: Effort("work", 0)
    home: Callable[[_Item], int] | None = None
    """A number: an item goes to the worker of this number, modulo their count, as long as that is up, and
    items are given out in their order: those that are done wait for few others."""
    ask: Callable[[Any], Any] | None = None
    """(actor): returns a reference too; called after about half a second in which nothing was finished."""
    tell: Callable[[Any], None] = lambda answer: None
    """Gets the answers when they are there. Nobody waits for one; a new one shows that the work moves."""
    give_up: Callable[[_Item, str, str], TilefarmError] = _give_up
    """(item, sentence, last error): what to raise for an item that failed for good."""
    on_given: Callable[[int, _Item], None] = lambda worker, item: None
    """(worker, item): told when a worker gets an item."""
    on_returned: Callable[[int, _Item, bool], None] = lambda worker, item, done: None
    """(worker, item, whether it is done): told when the worker has it no more."""


@dataclass
class _Work(Generic[_Item]):
    item: _Item
    failed_on: list[int] = field(default_factory=list)
    life: int = 0
    """How often the worker that it was last given to had been lost by then."""
    silenced: bool = False
    """Whether a worker that had it was ended for its silence."""
    suspected: int = 0
    """How often it may have ended its worker or was too large for the memory that was left."""

    @property
    def load(self) -> int:
        """What it counts among the calls of a worker: under suspicion it is alone, and shows which it was."""
        return IN_FLIGHT if self.suspected else 1

    @property
    def exclusive(self) -> bool:
        """Whether nobody else may work meanwhile: all of the machine's memory is there for it."""
        return self.suspected > 1


class Dispatcher(Generic[_Item]):
    """One pass over items with the workers of a fleet."""

    def __init__(self, fleet: Fleet, errand: Errand[_Item]) -> None:
        self._fleet = fleet
        self._errand = errand
        self._source: Iterator[_Item] = iter(())
        self._exhausted = False
        self._again: deque[_Work[_Item]] = deque()
        self._running: dict[Any, tuple[_Work[_Item], int]] = {}
        self._asked: dict[Any, int] = {}
        self._asked_at = 0.0
        self._answers: dict[int, Any] = {}

    def run(self, items: Iterable[_Item]) -> Iterator[tuple[_Item, Any, int]]:
        """Every item, its result and its number of attempts, in the order in which they are finished.

        Whoever takes a result may be slow with it: the worker that it came from has its next work by then.
        Raises what `give_up` makes of an item that failed `MAX_ATTEMPTS` times, on as many workers where
        there are (ResourceError where it was for want of memory), and IncompleteError when no worker is left.
        """
        self._source = iter(items)
        self._fleet.look()
        self._asked_at = self._fleet.now
        try:
            self._fill()
            while self._running or self._again or not self._exhausted:
                for reference in self._wait():
                    done = self._answered(reference)
                    self._fill()
                    if done is not None:
                        yield done
                self._fleet.look()
                self._end_the_hung()
                self._fill()
        finally:
            for work, worker in self._running.values():
                self._errand.on_returned(worker, work.item, False)
            effort = self._errand.effort
            self._fleet.leave(
                {
                    ref: Leftover(worker, work.life, effort(work.item))
                    for ref, (work, worker) in self._running.items()
                }
            )

    def _wait(self) -> list[Any]:
        """What was answered; the workers are asked now and then."""
        fleet = self._fleet
        waiting = [*self._asked, *fleet.probes, *fleet.leftovers, *self._running]
        ready: list[Any] = ray.wait(waiting, timeout=POLL_SECONDS)[0]
        if not ready or fleet.now - self._asked_at >= ASK_SECONDS:
            self._asked_at = fleet.now
            self._ask_all()
        return ready

    def _answered(self, reference: Any) -> tuple[_Item, Any, int] | None:
        """Take note of an answer; the item, result and attempts where it is a finished one's."""
        fleet = self._fleet
        if reference in self._running:
            return self._finished(reference)
        if reference in self._asked:
            worker = self._asked.pop(reference)
            with suppress(RayError):  # the worker is gone, as the failure of its work will tell
                self._heard(worker, ray.get(reference))
        elif reference in fleet.probes:
            fleet.probed(reference)
        elif reference in fleet.leftovers:
            fleet.left(reference)
        return None

    def _finished(self, reference: Any) -> tuple[_Item, Any, int] | None:
        work, worker = self._running.pop(reference)
        fleet = self._fleet
        try:
            result = ray.get(reference)
        except RayError as error:
            fleet.deadlines.failed(worker, fleet.now)
            self._errand.on_returned(worker, work.item, False)
            self._failed(work, worker, error)
            return None
        fleet.deadlines.finished(worker, self._errand.effort(work.item), fleet.now)
        fleet.did_well(worker)
        self._errand.on_returned(worker, work.item, True)
        if work.silenced and not any(each.silenced for each in self._unfinished()):
            fleet.deadlines.made_up()
        return work.item, result, len(work.failed_on) + 1

    def _fill(self) -> None:
        """Give work to the workers that are up until each has `IN_FLIGHT` calls or there is no more."""
        load = self._loads()
        while load and min(load.values()) < IN_FLIGHT:
            if any(work.exclusive for work, _ in self._running.values()):
                return
            work = self._next()
            if work is None:
                return
            worker = self._choose(work, load)
            if load[worker] + work.load > IN_FLIGHT or (work.exclusive and self._running):
                self._again.appendleft(work)
                return
            work.life = self._fleet.lives(worker)
            if not load[worker]:
                self._fleet.deadlines.given(worker, self._fleet.now)
            self._running[self._errand.call(self._fleet.actors[worker], work.item)] = (work, worker)
            load[worker] += work.load
            self._errand.on_given(worker, work.item)

    def _loads(self) -> dict[int, int]:
        """Per worker that is up, what it has."""
        load = dict.fromkeys(self._fleet.up(), 0)
        busy = [(worker, work.load) for work, worker in self._running.values()]
        for worker, count in [*busy, *((each.worker, 1) for each in self._fleet.leftovers.values())]:
            if worker in load:
                load[worker] += count
        return load

    def _next(self) -> _Work[_Item] | None:
        for _ in range(len(self._again)):
            work = self._again.popleft()
            untried = self._fleet.awaited().difference(work.failed_on)
            if len(work.failed_on) < MAX_ATTEMPTS or not untried:
                return work
            self._again.append(work)  # until a worker is back that may fare better
        for item in self._source:
            return _Work(item)
        self._exhausted = True
        return None

    def _choose(self, work: _Work[_Item], load: dict[int, int]) -> int:
        """A worker that failed this piece before gets it last."""
        if self._errand.home is not None:
            members = self._fleet.members()
            home = members[self._errand.home(work.item) % len(members)]
            if home in load and home not in work.failed_on:
                return home
        return min(load, key=lambda worker: (worker in work.failed_on, load[worker]))

    def _failed(self, work: _Work[_Item], worker: int, error: RayError) -> None:
        fleet, reason = self._fleet, last_line(error)
        lost = is_loss(error) or isinstance(error, DeviceError)
        if not lost:
            fleet.struck(worker, reason)
        elif work.life == fleet.lives(worker):  # the first to tell that the process is gone
            if isinstance(error, DeviceError):
                fleet.broken(worker, reason)
            else:
                fleet.lost(worker, error)
        self._do_again(work, worker, reason, lost, error)

    def _do_again(
        self, work: _Work[_Item], worker: int, reason: str, lost: bool, cause: Exception | None = None
    ) -> None:
        """Put work that failed back in line. Raises where it failed for good."""
        short = isinstance(cause, ResourceError)
        work.suspected += lost or short
        work.failed_on.append(worker)
        self._again.append(work)
        times, where = len(work.failed_on), len(set(work.failed_on))
        there = len(self._fleet.awaited().union(self._fleet.up()))
        if times < MAX_ATTEMPTS or where < min(MAX_ATTEMPTS, there):
            return
        message = f"{self._errand.name(work.item)} failed {times} times, the last time with: {reason}"
        if lost and self._fleet.memory_deaths:
            message += "; its workers ran out of memory: make tiles.size smaller or lower compute.workers"
            short = True
        raise (
            ResourceError(message) if short else self._errand.give_up(work.item, message, reason)
        ) from cause

    def _end_the_hung(self) -> None:
        """End workers that were silent for too long, and take their work from them."""
        fleet = self._fleet
        for worker, calls in self._calls().items():
            silence = fleet.deadlines.silence(worker, fleet.now)
            if fleet.is_down(worker) or silence <= fleet.deadlines.limit(worker, calls.values()):
                continue
            if ray.wait([*calls], timeout=0)[0]:  # just in time
                continue
            fleet.hung(worker, silence)
            reason = f"its worker was silent for {silence:.0f} s"
            ours = [self._running.pop(ref)[0] for ref in calls if ref in self._running]
            for work in ours:
                work.silenced = True
                self._errand.on_returned(worker, work.item, False)
            for work in ours:
                self._do_again(work, worker, reason, lost=True)

    def _calls(self) -> dict[int, dict[Any, Effort]]:
        """Per worker all that it is busy with, whoever it is for."""
        calls: dict[int, dict[Any, Effort]] = {}
        for ref, (work, worker) in self._running.items():
            calls.setdefault(worker, {})[ref] = self._errand.effort(work.item)
        for ref, leftover in self._fleet.leftovers.items():
            calls.setdefault(leftover.worker, {})[ref] = leftover.effort
        return calls

    def _unfinished(self) -> Iterator[_Work[_Item]]:
        yield from self._again
        yield from (work for work, _ in self._running.values())

    def _heard(self, worker: int, answer: Any) -> None:
        """A worker told of itself."""
        if answer is not None and answer != self._answers.get(worker):
            self._answers[worker] = answer
            self._fleet.deadlines.moved(worker, self._fleet.now)
        self._errand.tell(answer)

    def _ask_all(self) -> None:
        """Ask the workers that owe no answer; nobody waits for one."""
        if self._errand.ask is None:
            return
        owing = set(self._asked.values())
        for worker in self._fleet.up():
            if worker not in owing:
                self._asked[self._errand.ask(self._fleet.actors[worker])] = worker
