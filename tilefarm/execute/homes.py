"""Where the pieces of the exact method are at home: shared out by measured speed, and kept there; pure.

A worker keeps content features, crops and graphs of its pieces, so a piece stays where it is from evaluation
to evaluation. Each worker has as many pieces as it can do in the least time that all of them need together,
and in order each piece goes to the worker that is free first: all begin at once, and results come in about
that order. Pieces move only where a worker came or left, or the slowest would need `MOST_OFF` more than in
the best balance, or too many results would wait for one before them.

A worker that is too slow for any piece is tried again now and then: what it was measured at may have been a
hitch, or another program that has ended since.

Where the optimizer's vectors lie with the workers too, each has pieces next to each other: what they exchange
and add up stays with them as far as it can.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import accumulate

from tilefarm.execute.deadlines import Deadlines, Effort

MOST_OFF = 0.25
"""A pass may take so much longer than in the best balance before pieces move, as a share: to move one costs
its content once more on the way and about one forward pass."""
MOST_HELD = 4
"""Per worker so many more results than in the best order may wait for one before them: they are in memory."""

FIRST_TRY = 8
"""After so many evaluations without a piece a worker is tried again; each next time after twice as many."""

IN_FULL = 2.0
"""How many times as long a piece takes on a worker that keeps nothing of it: two forward passes in place of
one in pass 1; in pass 2 two more beside the way back, which takes about as long."""


class Homes:
    """The homes of one level's pieces, by index."""

    def __init__(self, times: Deadlines) -> None:
        self._times = times
        self._level = ""
        self._home: dict[int, int] = {}
        self._state: dict[int, tuple[int, int]] = {}
        """The worker that keeps a piece's state, and how often it had been lost by then."""
        self._efforts: dict[int, Effort] = {}
        self._seconds: dict[int, dict[int, float]] = {}
        """What each piece takes on each member, as known when the evaluation begins."""
        self._free: dict[int, float] = {}
        """Per worker when it is expected to be free, of pieces that had no home before."""
        self._members: frozenset[int] = frozenset()
        self._left_out: Counter[int] = Counter()
        """Per worker that seems slow, evaluations without a piece since it had one or was tried."""
        self._tries: Counter[int] = Counter()

    def of(self, index: int, level: str, effort: Effort, members: Sequence[int]) -> int:
        """The worker that a piece belongs to, one of `members`."""
        if level != self._level:
            self._begin(level)
        home = self._home.get(index)
        if home is None or home not in members:
            self._members = frozenset(members)
            begin = min((self._free[each] for each in members if each in self._free), default=0.0)
            for each in members:  # who joins late has no more to do at first than the others
                self._free.setdefault(each, begin)
            home = self._home[index] = _first_free(self._on_each(effort, members), self._free)
        self._efforts.setdefault(index, effort)
        return home

    def keeps(self, index: int, worker: int, life: int) -> bool:
        """Whether this process of a worker keeps the state of a piece."""
        return self._state.get(index) == (worker, life)

    def kept(self, index: int, worker: int, life: int) -> None:
        """A worker did the first pass over a piece: it is at home there from now on."""
        self._home[index] = worker
        self._state[index] = (worker, life)

    def share_out(self, level: str, efforts: Sequence[Effort], members: Sequence[int]) -> None:
        """All pieces anew, by measured speed: each of `members`, in order, gets pieces next to each other."""
        self._begin(level)
        self._members = frozenset(members)
        self._efforts = dict(enumerate(efforts))
        self._home = self._in_rows(members)

    def is_uneven(self, members: Sequence[int]) -> bool:
        """Whether `members` would clearly be done sooner if all were shared out among them anew."""
        if not self._home or not members:
            return False
        rows = {effort: self._on_each(effort, members) for effort in set(self._efforts.values())}
        self._seconds = {index: rows[effort] for index, effort in sorted(self._efforts.items())}
        if not set(self._home.values()) <= set(members):
            return True
        return self._longest(self._home) > (1 + MOST_OFF) * self._longest(self._in_rows(members))

    def balance(self, members: Sequence[int]) -> int:
        """Before an evaluation: move as many pieces as is needed, and say how many."""
        if not self._efforts or not members:
            return 0
        before = dict(self._home)
        rows = {effort: self._on_each(effort, members) for effort in set(self._efforts.values())}
        self._seconds = {index: rows[effort] for index, effort in sorted(self._efforts.items())}
        best = self._best(members)
        homes = {index: before[index] for index in best}
        most_held = self._most_held(best) + MOST_HELD * len(members)
        self._free = {}
        if (
            self._members != frozenset(members)
            or not set(homes.values()) <= set(members)
            or self._longest(homes) > (1 + MOST_OFF) * self._longest(best)
            or self._most_held(homes) > most_held
        ):
            homes = self._moved(homes, Counter(best.values()), members)
            self._home.update(best if self._most_held(homes) > most_held else homes)
        for worker in self._to_try(set(before.values()), members):
            self._try(worker)
        self._members = frozenset(members)
        return sum(self._home[index] != home for index, home in before.items())

    def _begin(self, level: str) -> None:
        self._level = level
        self._home, self._state, self._efforts = {}, {}, {}
        self._free, self._seconds = {}, {}
        self._left_out, self._tries = Counter(), Counter()

    def _in_rows(self, members: Sequence[int]) -> dict[int, int]:
        """A piece goes where its middle lies, when the work of all is laid along the paces of all."""
        efforts = [effort for _, effort in sorted(self._efforts.items())]
        paces = [1 / max(self._on_each(efforts[0], [each])[each], 1e-9) for each in members]
        ends = [*accumulate(pace / sum(paces) for pace in paces)]
        work = [float(effort.work) for effort in efforts]
        homes = {}
        for index, end in enumerate(accumulate(work)):
            middle = (end - work[index] / 2) / sum(work)
            homes[index] = members[min(bisect_right(ends, middle), len(members) - 1)]
        return homes

    def _to_try(self, at_work: Set[int], members: Iterable[int]) -> list[int]:
        """The workers that have been without a piece for long since they seem slow."""
        tried = []
        for worker in members:
            out = worker not in at_work and self._seems_slow(worker)
            self._left_out[worker] = self._left_out[worker] + 1 if out else 0
            if self._left_out[worker] == FIRST_TRY * 2 ** self._tries[worker]:
                self._left_out[worker] = 0
                self._tries[worker] += 1
                tried.append(worker)
        return tried

    def _seems_slow(self, worker: int) -> bool:
        seconds = next(iter(self._seconds.values()))
        return seconds[worker] > (1 + MOST_OFF) * min(seconds.values())

    def _try(self, worker: int) -> None:
        """Give it the last piece of who has the most to do, and measure it anew."""
        busy: Counter[int] = Counter()
        last = {}
        for index, home in sorted(self._home.items()):
            busy[home] += 1
            last[home] = index
        busiest = max(busy, key=lambda each: busy[each])
        if worker not in busy and busy[busiest] > 1:  # else nobody would be done sooner
            self._home[last[busiest]] = worker
            self._times.forget_pace(worker)

    def _best(self, members: Sequence[int]) -> dict[int, int]:
        """Homes that nothing would have to move to, by index."""
        ends = dict.fromkeys(members, 0.0)
        room: Counter[int] = Counter()
        for seconds in self._seconds.values():
            end, first = min((ends[each] + more, each) for each, more in seconds.items())
            ends[first] = end
            room[first] += 1
        return self._in_turn(self._seconds, room, dict.fromkeys(members, 0.0))

    def _in_turn(self, indices: Iterable[int], room: Counter[int], free: dict[int, float]) -> dict[int, int]:
        """Each piece to the worker that is free first, of those that have room for one more."""
        homes = {}
        with_room = {each: free[each] for each in free if room[each] > 0}
        for index in indices:
            home = homes[index] = _first_free(self._seconds[index], with_room)
            room[home] -= 1
            if not room[home]:
                del with_room[home]
        return homes

    def _moved(self, homes: Mapping[int, int], room: Counter[int], members: Sequence[int]) -> dict[int, int]:
        """As many pieces to each worker as it has room for: what goes is spread over the order."""
        stay: dict[int, int] = {}
        for worker in members:
            there = [index for index in sorted(homes) if homes[index] == worker]
            some = min(len(there), room[worker])
            for turn, index in enumerate(there):
                if (turn + 1) * some // len(there) > turn * some // len(there):
                    stay[index] = worker
            room[worker] -= some
        others = [index for index in sorted(homes) if index not in stay]
        return stay | self._in_turn(others, room, dict.fromkeys(members, 0.0))

    def _ends(self, homes: Mapping[int, int]) -> dict[int, float]:
        """When each piece is expected to be done."""
        ends, busy = {}, dict.fromkeys(homes.values(), 0.0)
        for index, worker in sorted(homes.items()):
            busy[worker] += self._seconds[index][worker]
            ends[index] = busy[worker]
        return ends

    def _longest(self, homes: Mapping[int, int]) -> float:
        return max(self._ends(homes).values())

    def _most_held(self, homes: Mapping[int, int]) -> int:
        """The most results that are expected to wait at a time for one before them."""
        ends = self._ends(homes)
        most, passed, here = 0, 0, set()
        order = sorted(ends)
        for index in sorted(ends, key=lambda index: ends[index]):
            here.add(index)
            while passed < len(order) and order[passed] in here:
                passed += 1
            most = max(most, len(here) - passed)
        return most

    def _on_each(self, effort: Effort, members: Sequence[int]) -> dict[int, float]:
        """As measured; pixel steps where nobody's pace is known, which makes all alike."""
        seconds = {each: self._times.seconds(each, effort) for each in members}
        return {each: float(effort.work) if own is None else own for each, own in seconds.items()}


def _first_free(seconds: Mapping[int, float], free: dict[int, float]) -> int:
    """The worker in `free` that is free first, of those that have `seconds`; it is busy so much longer."""
    worker = min((at, seconds[each], each) for each, at in free.items() if each in seconds)[2]
    free[worker] += seconds[worker]
    return worker
