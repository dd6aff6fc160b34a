"""Who gets which work: decisions alone, without Ray, without threads and without a clock of their own.

A schedule is told what happened and when, and answers who gets what next. The dispatcher asks it for real
workers; a simulation can ask it for others. Which workers there are may change between any two questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

from tilefarm.execute.assignment import IN_FLIGHT, Call, Failed, Finished, Given, Work, Workers
from tilefarm.execute.copies import CLEARLY, is_worth_it, seconds_left
from tilefarm.execute.deadlines import Deadlines, Effort
from tilefarm.execute.protocol import MAX_ATTEMPTS

AHEAD = 4
"""Items that may wait for a busy home while items behind them are given to others: each is in memory."""

_Item = TypeVar("_Item")


class Schedule(Generic[_Item]):
    """One pass over items: which are where, which are done, and which failed how often.

    All times are those of one clock, in seconds.
    """

    def __init__(
        self,
        items: Iterable[_Item],
        times: Deadlines,
        effort: Callable[[_Item], Effort],
        place: Callable[[_Item, Sequence[int]], int] | None = None,
        copy: Callable[[_Item], float] | None = None,
        clearly: float = CLEARLY,
    ) -> None:
        """`times` outlives passes; what is heard of calls is written down there.

        `place(item, members)` is the worker that an item belongs to; without it any worker will do.
        `copy(item)` says how many times as long it takes elsewhere than where it belongs; without it no
        item is given to a second worker while the first is at it. `clearly`: how many times as long as a copy
        the first must have to go.
        """
        self._source = iter(items)
        self._times = times
        self._effort = effort
        self._place = place
        self._copy = copy
        self._clearly = clearly
        self._exhausted = False
        self._again: list[Work[_Item]] = []
        """Failed, and to be given out again."""
        self._held: list[Work[_Item]] = []
        """Taken from the source and not given out yet."""
        self._calls: dict[int, Call[_Item]] = {}
        """By number, in the order in which they were given out."""
        self._count = 0

    @property
    def is_open(self) -> bool:
        """Whether some item is not done yet."""
        at_work = any(not call.work.is_done for call in self._calls.values())
        return at_work or bool(self._again or self._held) or not self._exhausted

    def give(self, workers: Workers, now: float) -> Given[_Item] | None:
        """The next call to be made, which counts as made; None where all have enough or there is no more."""
        load = self._loads(workers)
        if not load or any(call.work.exclusive for call in self._calls.values()):
            return None
        idle = [worker for worker, count in load.items() if not count]
        return self._next(workers, load, now) or (self._help(workers, idle, now) if idle else None)

    def done(self, number: int, now: float) -> Finished[_Item] | None:
        """A call came back with its result; None where another copy was faster."""
        call = self._end(number)
        work = call.work
        self._times.finished(call.worker, work.effort, now)
        if work.is_done:
            return None
        work.is_done = True
        if work.silenced and not any(each.silenced for each in self._unfinished()):
            self._times.made_up()
        return Finished(work.item, len(work.failed_on) + 1)

    def failed(self, number: int, workers: Workers, now: float, *, suspect: bool) -> Failed[_Item]:
        """A call came back without a result. `suspect`: it may have ended its worker, or needs more memory.

        `workers` are those that are there after the failure.
        """
        call = self._end(number)
        self._times.failed(call.worker, now)
        return self._put_back(call, workers, suspect=suspect)

    def silenced(self, worker: int, workers: Workers) -> list[Failed[_Item]]:
        """A worker was ended since nothing was heard of it: what it had has failed.

        Where others have done all of it already, it was not slow but hung, and nobody needs more time.
        """
        numbers = [number for number, call in self._calls.items() if call.worker == worker]
        calls = [self._end(number) for number in numbers]
        if all(call.work.is_done for call in calls):
            self._times.made_up()
        for call in calls:
            call.work.silenced = True
        return [self._put_back(call, workers, suspect=True) for call in calls]

    def shows(self, worker: int) -> bool:
        """Whether what a worker runs is the first copy of something that is not done."""
        first = next((call for call in self._calls.values() if call.worker == worker), None)
        return first is not None and not first.copy and not first.work.is_done

    def running(self) -> dict[int, Given[_Item]]:
        """The calls that are under way, by number."""
        return {
            number: Given(number, call.worker, call.work.item, call.copy)
            for number, call in self._calls.items()
        }

    def _next(self, workers: Workers, load: dict[int, int], now: float) -> Given[_Item] | None:
        """What nobody has yet."""
        if min(load.values()) >= IN_FLIGHT:
            return None
        for work in self._candidates(workers.awaited):
            worker = self._choose(work, load, workers.members)
            if load[worker] + work.load <= IN_FLIGHT and not (work.exclusive and self._calls):
                return self._hand(work, worker, now, idle=not load[worker])
            if work.exclusive:  # nothing new begins until all is quiet
                return None
            if work.suspected:  # this worker is left to it
                load[worker] = IN_FLIGHT
            if min(load.values()) >= IN_FLIGHT:
                return None
        return None

    def _loads(self, workers: Workers) -> dict[int, int]:
        """Per worker that is up, what it has."""
        load = {worker: len(workers.busy.get(worker, ())) for worker in workers.up}
        for call in self._calls.values():
            if call.worker in load:
                load[call.worker] += call.work.load
        return load

    def _candidates(self, awaited: AbstractSet[int]) -> Iterator[Work[_Item]]:
        """What can be given out now, in the order in which it should be."""
        for work in list(self._again):
            if len(work.failed_on) < MAX_ATTEMPTS or awaited <= set(work.failed_on):
                yield work  # else a worker is about to be back that may fare better
        yield from list(self._held)
        while len(self._held) < AHEAD:
            for item in self._source:
                self._held.append(Work(item, self._effort(item)))
                break
            else:
                self._exhausted = True
                return
            yield self._held[-1]

    def _choose(self, work: Work[_Item], load: Mapping[int, int], members: Sequence[int]) -> int:
        """A worker that failed this piece before gets it last; of those that are alike, the fastest."""
        if self._place is not None:
            home = self._place(work.item, members)
            if home in load and home not in work.failed_on:
                return home
        least = min((worker in work.failed_on, count) for worker, count in load.items())
        alike = [worker for worker, count in load.items() if (worker in work.failed_on, count) == least]
        if len(alike) == 1:
            return alike[0]
        return min(alike, key=lambda worker: self._times.seconds(worker, work.effort) or 0.0)

    def _help(self, workers: Workers, idle: Sequence[int], now: float) -> Given[_Item] | None:
        """For a worker that idles, what is expected to end late elsewhere, if it is done earlier there.

        The latest first, each where it would be done first: a worker that is about to be idle counts too, so
        that a slow one does not take what a fast one can do better in a moment.
        """
        waits = any(work.exclusive for work in self._again)
        if self._copy is None or waits or not (self._exhausted or len(self._held) >= AHEAD):
            return None
        late, ends = self._expect(workers, now)
        takes: dict[tuple[Effort, float], dict[int, float]] = {}
        for left, holder, work in sorted(late, key=lambda each: -each[0]):
            kind = work.effort, self._copy(work.item)
            if kind not in takes:
                takes[kind] = self._takes(*kind, ends)
            would_end = {worker: ends[worker] + seconds for worker, seconds in takes[kind].items()}
            if left < min(would_end.values(), default=left):  # nowhere, and most often so
                continue
            would_end.pop(holder, None)
            best = min(would_end, key=lambda worker: would_end[worker], default=None)
            clearly = self._clearly if work.calls else CLEARLY
            if best is None or not is_worth_it(would_end[best], left, clearly):
                continue
            if best in idle and not ends[best]:
                return self._hand(work, best, now, idle=True)
            ends[best] = would_end[best]
        return None

    def _takes(self, effort: Effort, dearer: float, ends: Iterable[int]) -> dict[int, float]:
        """Per worker the seconds that it needs for a piece that is not at home there, where known."""
        seconds = {worker: self._times.seconds(worker, effort) for worker in ends}
        return {worker: dearer * each for worker, each in seconds.items() if each is not None}

    def _expect(
        self, workers: Workers, now: float
    ) -> tuple[list[tuple[float, int, Work[_Item]]], dict[int, float]]:
        """What may be given to another worker: the seconds until it is expected to be done, who has it, and
        the work; and per worker the seconds until it is expected to be idle."""
        late, ends = [], {}
        for worker, line in self._lines(workers).items():
            busy = workers.busy.get(worker, ())
            efforts = [*busy, *(work.effort for work in line)]
            left = list(seconds_left(self._times, worker, efforts, now))
            if len(left) == len(efforts):
                ends[worker] = left[-1] if left else 0.0
            for seconds, work in zip(left[len(busy) :], line, strict=False):
                free = work.calls < 2 and not work.is_done and not work.failed_on
                if free and (self._exhausted or not work.calls):
                    late.append((seconds, worker, work))
        return late, ends

    def _lines(self, workers: Workers) -> dict[int, list[Work[_Item]]]:
        """Per worker that is up, what it has in hand and what waits for it, in this order."""
        lines: dict[int, list[Work[_Item]]] = {worker: [] for worker in workers.up}
        for call in self._calls.values():
            if call.worker in lines:
                lines[call.worker].append(call.work)
        for work in self._held:
            home = None if self._place is None else self._place(work.item, workers.members)
            if home in lines:
                lines[home].append(work)
        return lines

    def _hand(self, work: Work[_Item], worker: int, now: float, *, idle: bool) -> Given[_Item]:
        for line in (self._again, self._held):
            if work in line:
                line.remove(work)
        if idle:
            self._times.given(worker, now)
        self._count += 1
        call = self._calls[self._count] = Call(work, worker, work.calls > 0)
        work.calls += 1
        return Given(self._count, worker, work.item, call.copy)

    def _end(self, number: int) -> Call[_Item]:
        call = self._calls.pop(number)
        call.work.calls -= 1
        return call

    def _put_back(self, call: Call[_Item], workers: Workers, *, suspect: bool) -> Failed[_Item]:
        """Put work that failed back in line, if nobody else is at it."""
        work = call.work
        work.suspected += suspect
        work.failed_on.append(call.worker)
        times, where = len(work.failed_on), len(set(work.failed_on))
        if work.is_done or work.calls:
            return Failed(work.item, times, for_good=False)
        self._again.append(work)
        there = len(set(workers.awaited).union(workers.up))
        return Failed(work.item, times, times >= MAX_ATTEMPTS and where >= min(MAX_ATTEMPTS, there))

    def _unfinished(self) -> Iterator[Work[_Item]]:
        yield from self._again
        yield from (call.work for call in self._calls.values() if not call.work.is_done)
