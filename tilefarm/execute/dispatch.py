"""Handing out work to actors: calls and their answers, failures done again elsewhere, the hung ended.

Who gets what is decided by `schedule.py`. How the actors are is the fleet's to know (`health.py`), and when
silence is too long `deadlines.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError

from tilefarm.errors import DeviceError, ResourceError, TileFailedError, TilefarmError
from tilefarm.execute.assignment import Failed, Given, Workers
from tilefarm.execute.copies import CLEARLY
from tilefarm.execute.deadlines import Effort
from tilefarm.execute.health import Fleet, Leftover
from tilefarm.execute.ray_errors import is_loss, last_line
from tilefarm.execute.schedule import Schedule

POLL_SECONDS = 0.5
ASK_SECONDS = 5.0
"""Workers are asked for their progress so often even while others finish one piece after the other."""

_Item = TypeVar("_Item")


def _give_up(item: object, message: str, error: str) -> TilefarmError:
    return TileFailedError(message)


@dataclass(frozen=True)
class Errand(Generic[_Item]):
    """What is done with the items of one pass."""

    call: Callable[[int, _Item], Any]
    """(worker, item): starts the work and returns a reference."""
    name: Callable[[_Item], str]
    """For messages."""
    effort: Callable[[_Item], Effort] = lambda item: Effort("work", 0)
    home: Callable[[_Item, Sequence[int]], int] | None = None
    """(item, members): the one of these workers that it goes to as long as that is up. Items are given out
    in their order: those that are done wait for few others."""
    form: Callable[[int, _Item], _Item] = lambda worker, item: item
    """(worker, item): what is sent to this worker."""
    copy: Callable[[_Item], float] | None = None
    """Where an item may be given to a second worker when the first is slow: how many times as long it takes
    elsewhere than at home."""
    clearly: float = CLEARLY
    """How many times as long as a copy the first must have to go."""
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


@dataclass(frozen=True)
class _Sent(Generic[_Item]):
    given: Given[_Item]
    life: int
    """How often the worker had been lost by then."""


class Dispatcher(Generic[_Item]):
    """One pass over items with the workers of a fleet."""

    def __init__(self, fleet: Fleet, errand: Errand[_Item]) -> None:
        self._fleet = fleet
        self._errand = errand
        self._schedule = self._plan(())
        self._sent: dict[Any, _Sent[_Item]] = {}
        """By reference."""
        self._asked: dict[Any, int] = {}
        self._asked_at = 0.0
        self._answers: dict[int, Any] = {}

    def run(self, items: Iterable[_Item]) -> Iterator[tuple[_Item, Any, int]]:
        """Every item, its result and its number of attempts, in the order in which they are finished.

        Whoever takes a result may be slow with it: the worker that it came from has its next work by then.
        Raises what `give_up` makes of an item that failed `MAX_ATTEMPTS` times, on as many workers where
        there are (ResourceError where it was for want of memory), and IncompleteError when no worker is left.
        """
        self._schedule = self._plan(items)
        self._fleet.look()
        self._asked_at = self._fleet.now
        try:
            self._fill()
            while self._schedule.is_open:
                ready = self._wait()
                self._fleet.look()  # what came back came now: of short passes there is no other look
                for reference in ready:
                    done = self._answered(reference)
                    self._fill()
                    if done is not None:
                        yield done
                self._fleet.look()
                self._end_the_hung()
                self._fill()
        finally:
            for sent in self._sent.values():
                self._errand.on_returned(sent.given.worker, sent.given.item, False)
            effort = self._errand.effort
            self._fleet.leave(
                {
                    ref: Leftover(sent.given.worker, sent.life, effort(sent.given.item))
                    for ref, sent in self._sent.items()
                }
            )

    def _plan(self, items: Iterable[_Item]) -> Schedule[_Item]:
        errand = self._errand
        return Schedule(items, self._fleet.deadlines, errand.effort, errand.home, errand.copy, errand.clearly)

    def _wait(self) -> list[Any]:
        """What was answered; the workers are asked now and then."""
        fleet = self._fleet
        waiting = [*self._asked, *fleet.probes, *fleet.leftovers, *self._sent]
        if not waiting:  # no worker is there, and one may join
            time.sleep(POLL_SECONDS)
            return []
        ready: list[Any] = ray.wait(waiting, timeout=POLL_SECONDS)[0]
        if not ready or fleet.now - self._asked_at >= ASK_SECONDS:
            self._asked_at = fleet.now
            self._ask_all()
        return ready

    def _answered(self, reference: Any) -> tuple[_Item, Any, int] | None:
        """Take note of an answer; the item, result and attempts where it is a finished one's."""
        fleet = self._fleet
        if reference in self._sent:
            return self._came_back(reference)
        if reference in self._asked:
            worker = self._asked.pop(reference)
            with suppress(RayError):  # the worker is gone, as the failure of its work will tell
                self._heard(worker, ray.get(reference))
        elif reference in fleet.probes:
            fleet.probed(reference)
        elif reference in fleet.leftovers:
            fleet.left(reference)
        return None

    def _came_back(self, reference: Any) -> tuple[_Item, Any, int] | None:
        sent = self._sent.pop(reference)
        given, fleet = sent.given, self._fleet
        try:
            result = ray.get(reference)
        except RayError as error:
            self._errand.on_returned(given.worker, given.item, False)
            self._failed(sent, error)
            return None
        fleet.did_well(given.worker)
        finished = self._schedule.done(given.number, fleet.now)
        self._errand.on_returned(given.worker, given.item, finished is not None)
        return None if finished is None else (finished.item, result, finished.attempts)

    def _fill(self) -> None:
        """Give work to the workers that are up until each has enough or there is no more."""
        fleet, workers = self._fleet, self._workers()
        while (given := self._schedule.give(workers, fleet.now)) is not None:
            item = self._errand.form(given.worker, given.item)
            reference = self._errand.call(given.worker, item)
            self._sent[reference] = _Sent(given, fleet.lives(given.worker))
            self._errand.on_given(given.worker, given.item)

    def _workers(self) -> Workers:
        fleet = self._fleet
        busy: dict[int, list[Effort]] = {}
        for leftover in fleet.leftovers.values():
            busy.setdefault(leftover.worker, []).append(leftover.effort)
        return Workers(fleet.up(), fleet.members(), fleet.awaited(), busy)

    def _failed(self, sent: _Sent[_Item], error: RayError) -> None:
        fleet, reason, worker = self._fleet, last_line(error), sent.given.worker
        lost = is_loss(error) or isinstance(error, DeviceError)
        if not lost:
            fleet.struck(worker, reason)
        elif sent.life == fleet.lives(worker):  # the first to tell that the process is gone
            if isinstance(error, DeviceError):
                fleet.broken(worker, reason)
            else:
                fleet.lost(worker, error)
        short = isinstance(error, ResourceError)
        failed = self._schedule.failed(sent.given.number, self._workers(), fleet.now, suspect=lost or short)
        self._judge(failed, reason, lost, error)

    def _judge(self, failed: Failed[_Item], reason: str, lost: bool, cause: Exception | None = None) -> None:
        """Raises where an item failed for good."""
        if not failed.for_good:
            return
        short = isinstance(cause, ResourceError)
        name = self._errand.name(failed.item)
        message = f"{name} failed {failed.times} times, the last time with: {reason}"
        if lost and self._fleet.memory_deaths:
            message += "; its workers ran out of memory: make tiles.size smaller or lower compute.workers"
            short = True
        raise (
            ResourceError(message) if short else self._errand.give_up(failed.item, message, reason)
        ) from cause

    def _end_the_hung(self) -> None:
        """End workers that were silent for too long, and take their work from them."""
        fleet = self._fleet
        if fleet.now < fleet.judged_at + POLL_SECONDS:  # whatever time may have passed, it is not much
            return
        fleet.judged_at = fleet.now
        for worker, calls in self._calls().items():
            silence = fleet.deadlines.silence(worker, fleet.now)
            if fleet.is_down(worker) or silence <= fleet.deadlines.limit(worker, calls.values()):
                continue
            if ray.wait([*calls], timeout=0)[0]:  # just in time
                continue
            fleet.hung(worker, silence)
            for reference in [ref for ref in calls if ref in self._sent]:
                self._errand.on_returned(worker, self._sent.pop(reference).given.item, False)
            for failed in self._schedule.silenced(worker, self._workers()):
                self._judge(failed, f"its worker was silent for {silence:.0f} s", lost=True)

    def _calls(self) -> dict[int, dict[Any, Effort]]:
        """Per worker all that it is busy with, whoever it is for."""
        calls: dict[int, dict[Any, Effort]] = {}
        for ref, sent in self._sent.items():
            calls.setdefault(sent.given.worker, {})[ref] = self._errand.effort(sent.given.item)
        for ref, leftover in self._fleet.leftovers.items():
            calls.setdefault(leftover.worker, {})[ref] = leftover.effort
        return calls

    def _heard(self, worker: int, answer: Any) -> None:
        """A worker told of itself."""
        if answer is not None and answer != self._answers.get(worker):
            self._answers[worker] = answer
            self._fleet.deadlines.moved(worker, self._fleet.now)
        if answer is None or self._schedule.shows(worker):
            self._errand.tell(answer)

    def _ask_all(self) -> None:
        """Ask the workers that owe no answer; nobody waits for one."""
        if self._errand.ask is None:
            return
        owing = set(self._asked.values())
        for worker in self._fleet.up():
            if worker not in owing:
                self._asked[self._errand.ask(self._fleet.actors[worker])] = worker
