"""A farm in simulated time around a schedule: workers of any speed that fail, die, join and leave.

It stands for the dispatcher, the fleet and the workers, and checks at every step what must always hold.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tilefarm.execute.assignment import IN_FLIGHT, Given, Workers
from tilefarm.execute.deadlines import Deadlines, Effort
from tilefarm.execute.schedule import Schedule

LOOK_SECONDS = 2.0
RESTART_SECONDS = 5.0
MOST_LOOKS = 200_000


@dataclass(frozen=True)
class Mishap:
    """What happens to a call instead of a result."""

    kind: str
    """raise: it fails; die: its worker dies of it."""


@dataclass(frozen=True)
class Change:
    """A worker that comes or goes."""

    at: float
    kind: str
    """join, leave (for good) or lose (back after `RESTART_SECONDS`)."""
    worker: int = 0
    """Of those that are there, modulo their count."""
    pace: float = 1.0
    """Of one that joins."""


@dataclass
class SimulatedWorker:
    """Does its calls one after the other."""

    pace: float
    """Seconds per unit of work."""
    line: list[Given[int]] = field(default_factory=list)
    life: int = 0
    state: str = "up"


@dataclass
class Told:
    """What a simulation found."""

    seconds: float = 0.0
    done: list[int] = field(default_factory=list)
    """Items, in the order in which they were finished."""
    by: dict[int, int] = field(default_factory=dict)
    """The worker whose result was the first, by item."""
    attempts: dict[int, int] = field(default_factory=dict)
    given: Counter[int] = field(default_factory=Counter)
    """Calls per worker."""
    copies: int = 0
    wasted: float = 0.0
    """Seconds of work whose result nobody wanted, up to the end of the pass."""
    failed_for_good: list[int] = field(default_factory=list)


class SimulatedFarm:
    """One pass over items of given work."""

    def __init__(
        self,
        paces: Sequence[float],
        work: Sequence[int],
        make: Callable[[Iterable[int], Deadlines, Callable[[int], Effort]], Schedule[int]],
        *,
        mishaps: dict[int, list[Mishap]] | None = None,
        changes: Iterable[Change] = (),
        noise: Callable[[int, int], float] = lambda worker, item: 1.0,
        times: Deadlines | None = None,
        known: bool = True,
        fair: bool = False,
    ) -> None:
        """`known`: paces are known from earlier calls. `fair`: to check that nobody idles for nothing."""
        self.times = times or Deadlines(len(paces))
        self.work = work
        self.workers = [SimulatedWorker(pace) for pace in paces]
        self.mishaps = mishaps or {}
        self.noise = noise
        self.fair = fair
        self.told = Told()
        self._now = 0.0
        self._ticket = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._taken = 0
        self._sending: dict[int, tuple[int, float]] = {}
        if known:
            for number, worker in enumerate(self.workers):
                for turn in range(2):
                    self.times.given(number, worker.pace * turn)
                    self.times.finished(number, Effort("work", 1), worker.pace * (turn + 1))
        for change in changes:
            self._at(change.at, lambda change=change: self._change(change))  # type: ignore[misc]
        self.schedule = make(self._items(), self.times, lambda item: Effort("work", work[item]))

    def run(self) -> Told:
        """Until all is done, or an item has failed for good."""
        self._fill()
        looks = 0
        while self.schedule.is_open and not self.told.failed_for_good:
            looks += 1
            assert looks < MOST_LOOKS, "it goes on for ever"
            look = self._now + LOOK_SECONDS
            if self._events and self._events[0][0] <= look:
                self._now, _, event = heapq.heappop(self._events)
                event()
            else:
                self._now = look
            self._fill()
        self.told.seconds = self._now
        self.told.wasted += sum(
            self._now - begun for number, begun in self._sending.values() if begun <= self._now
        )
        return self.told

    def there(self) -> Workers:
        """The workers at this moment."""
        members = [number for number, each in enumerate(self.workers) if each.state != "gone"]
        down = {number for number in members if self.workers[number].state == "down"}
        return Workers([number for number in members if number not in down], members, down)

    def _items(self) -> Iterable[int]:
        for item in range(len(self.work)):
            self._taken += 1
            yield item

    def _at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._ticket), event))

    def _fill(self) -> None:
        workers = self.there()
        while (given := self.schedule.give(workers, self._now)) is not None:
            worker = self.workers[given.worker]
            assert worker.state == "up"
            worker.line.append(given)
            self.told.given[given.worker] += 1
            self.told.copies += given.copy
            if len(worker.line) == 1:
                self._begin(given.worker)
            self._check()
        if self.fair and self._taken < len(self.work):
            idle = [number for number in workers.up if not self.workers[number].line]
            assert not idle, f"workers {idle} have nothing to do while there is work"

    def _check(self) -> None:
        holders: dict[int, list[int]] = {}
        for number, worker in enumerate(self.workers):
            assert len(worker.line) <= IN_FLIGHT
            for given in worker.line:
                if given.item not in self.told.attempts:
                    holders.setdefault(given.item, []).append(number)
        for item, numbers in holders.items():
            assert len(numbers) <= 2, f"item {item} is at {numbers}"
            assert len(numbers) == len(set(numbers)), f"item {item} is twice at one worker"

    def _begin(self, number: int) -> None:
        worker = self.workers[number]
        given, life = worker.line[0], worker.life
        seconds = worker.pace * self.work[given.item] * self.noise(number, given.item)
        self._sending[number] = (given.number, self._now)
        self._at(self._now + seconds, lambda: self._end(number, given, life))

    def _end(self, number: int, given: Given[int], life: int) -> None:
        worker = self.workers[number]
        if worker.life != life:
            return
        mishaps = self.mishaps.get(given.item)
        if mishaps:
            if mishaps.pop().kind == "die":
                self._lose(number, back=True)
                return
            worker.line.pop(0)
            self._failed(given, suspect=False)
        else:
            worker.line.pop(0)
            self._done(given)
        del self._sending[number]
        if worker.line:
            self._begin(number)

    def _done(self, given: Given[int]) -> None:
        finished = self.schedule.done(given.number, self._now)
        if finished is None:
            self.told.wasted += self._now - self._sending[given.worker][1]
            assert given.item in self.told.attempts
            return
        assert finished.item == given.item
        assert given.item not in self.told.attempts, f"item {given.item} is done twice"
        self.told.attempts[given.item] = finished.attempts
        self.told.done.append(given.item)
        self.told.by[given.item] = given.worker

    def _failed(self, given: Given[int], *, suspect: bool) -> None:
        failed = self.schedule.failed(given.number, self.there(), self._now, suspect=suspect)
        if failed.for_good:
            self.told.failed_for_good.append(failed.item)

    def _lose(self, number: int, *, back: bool) -> None:
        worker = self.workers[number]
        worker.life += 1
        worker.state = "down" if back else "gone"
        line, worker.line = worker.line, []
        self._sending.pop(number, None)
        for given in line:
            self._failed(given, suspect=True)
        if back:
            self._at(self._now + RESTART_SECONDS, lambda: self._back(number))

    def _back(self, number: int) -> None:
        if self.workers[number].state == "down":
            self.workers[number].state = "up"
            self.times.restarted(number, self._now)

    def _change(self, change: Change) -> None:
        if change.kind == "join":
            self.workers.append(SimulatedWorker(change.pace))
            assert self.times.joined(self._now) == len(self.workers) - 1
            return
        up = self.there().up
        if len(up) > 1:
            self._lose(up[change.worker % len(up)], back=change.kind == "lose")


def make_schedule(
    items: Iterable[int], times: Deadlines, effort: Callable[[int], Effort], dearer: float = 1.0
) -> Schedule[int]:
    """As for tiles: any worker will do, and last ones are given out twice."""
    return Schedule(items, times, effort, copy=lambda item: dearer)


def least_seconds(paces: Sequence[float], count: int) -> float:
    """The least possible time for `count` items of one unit: the smallest T by which the workers, each of
    them never idle, have finished so many. Independent of the scheduler; exact."""
    ends = sorted(pace * turn for pace in paces for turn in range(1, count + 1))
    return ends[count - 1]
