"""When a worker counts as hung, and how fast it is: arithmetic on times, without Ray or a clock of its own.

A worker does its calls one after the other. As long as it has any, something must be heard of it now and
then: a result, a failure, or progress within a call. How long it may be silent follows from how long its like
took.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from statistics import median

REMEMBERED = 101
"""Finished calls of a kind that count, the last ones."""
MOST_DOUBLINGS = 10
RECENT = 9
"""Finished calls of a worker that say how fast it is now."""


@dataclass(frozen=True)
class Patience:
    """How long a worker with work may be silent, in seconds: rather too long than too short."""

    least: float = 60.0
    times: float = 10.0
    """As often as the median of its like, so that other programs may slow a worker down."""
    times_longest: float = 3.0
    """As often as the longest of its like."""
    unknown: float = 600.0
    """The least before a process has finished two calls of the kind: the first may load the network, and how
    fast its machine is, nobody knows."""
    unknown_per_megapixel: float = 2000.0
    """Added to that for every 2^20 pixels that go through the network: a pass with gradients at 1 GFLOP/s."""


@dataclass(frozen=True)
class Effort:
    """What a call is compared by."""

    kind: Hashable
    """Calls of one kind take times in proportion to pixels * steps."""
    pixels: int
    steps: int = 1
    """Passes over the pixels; progress is told after each where there are several."""

    @property
    def work(self) -> int:
        """Pixel steps, at least 1."""
        return max(1, self.pixels * self.steps)


class AwakeClock:
    """Seconds in which this process was awake and looking.

    A machine that was suspended, or a driver that was stopped or busy, heard nothing from its workers in that
    time, and that is no reason to end them: of the time between two looks at most `most` counts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: float = 2.0) -> None:
        self._clock = clock
        self._most = most
        self._last = clock()
        self._awake = 0.0
        self.unseen = 0.0
        """Seconds before the last look that did not count."""

    def __call__(self) -> float:
        """Look; the seconds counted so far."""
        now = self._clock()
        passed = max(0.0, now - self._last)
        counted = min(passed, self._most)
        self.unseen = passed - counted
        self._awake += counted
        self._last = now
        return self._awake


@dataclass
class _Watched:
    began: float = 0.0
    """When the running call began at the earliest: given to an idle worker, or the one before it ended."""
    heard: float = 0.0
    unseen: float = 0.0
    """Of the running call: seconds that passed and did not count."""
    unsure: bool = False
    """Whether the call may have begun long before, unseen."""
    fresh: bool = True
    """Whether its process has finished nothing yet."""
    paces: dict[Hashable, deque[float]] = field(default_factory=dict)
    """Its own: where many machines are fast, times of a slow one are soon forgotten."""
    lately: dict[Hashable, deque[float]] = field(default_factory=dict)
    """The last of them, since its pace was forgotten."""
    recent: dict[Hashable, float] = field(default_factory=dict)
    """Per kind the median of those: it is asked for far more often than it changes."""
    firsts: dict[Hashable, float] = field(default_factory=dict)
    """Of calls that may include loading the network: a poor measure, for want of another."""

    def begin(self, now: float) -> None:
        self.began = self.heard = now
        self.unseen, self.unsure = 0.0, False

    def finished(self, kind: Hashable, pace: float) -> None:
        """A call was measured: seconds per pixel step."""
        self.paces.setdefault(kind, deque(maxlen=REMEMBERED)).append(pace)
        lately = self.lately.setdefault(kind, deque(maxlen=RECENT))
        lately.append(pace)
        self.recent[kind] = median(lately)

    def pace(self, kind: Hashable) -> float | None:
        """Seconds per pixel step at present; None where it is not known."""
        recent = self.recent.get(kind)
        return self.firsts.get(kind) if recent is None else recent


@dataclass
class Deadlines:
    """Takes note of what is heard of every worker; says how long each was silent, and how long it may be.

    All times are those of one clock, in seconds.
    """

    workers: int
    patience: Patience = Patience()
    _watched: list[_Watched] = field(init=False)
    _paces: dict[Hashable, deque[float]] = field(init=False, default_factory=dict)
    """Per kind, seconds per pixel step of finished calls."""
    _usual: dict[Hashable, float | None] = field(init=False, default_factory=dict)
    """Per kind, the median over the workers, until one of their paces changes."""
    _doublings: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._watched = [_Watched() for _ in range(self.workers)]

    def given(self, worker: int, now: float) -> None:
        """A worker that had nothing to do was given a call."""
        self._watched[worker].begin(now)

    def overlooked(self, seconds: float) -> None:
        """So many seconds have passed that do not count."""
        for watched in self._watched:
            watched.unseen += seconds

    def finished(self, worker: int, effort: Effort, now: float) -> None:
        """A call came back with its result.

        Its time is no measure of its like where most of it was not seen, or it may include loading the
        network: a small first call would allow large ones hours.
        """
        watched = self._watched[worker]
        self._usual.pop(effort.kind, None)
        seen = now - watched.began
        overlooked = watched.unseen > seen
        pace = (seen + watched.unseen) / effort.work
        if watched.fresh and not overlooked:
            watched.firsts[effort.kind] = pace
        elif not (watched.fresh or watched.unsure or overlooked):
            self._paces.setdefault(effort.kind, deque(maxlen=REMEMBERED)).append(pace)
            watched.finished(effort.kind, pace)
        watched.fresh = False
        watched.begin(now)
        watched.unsure = overlooked

    def failed(self, worker: int, now: float) -> None:
        """A call came back without a result."""
        self._watched[worker].begin(now)

    def moved(self, worker: int, now: float) -> None:
        """The call that runs is further than it was."""
        self._watched[worker].heard = now

    def joined(self, now: float) -> int:
        """A worker more; returns its number."""
        self._watched.append(_Watched(now, now))
        self.workers += 1
        return self.workers - 1

    def restarted(self, worker: int, now: float) -> None:
        """A new process took the worker's place."""
        self._watched[worker] = _Watched(now, now)
        self._usual.clear()

    def killed(self) -> None:
        """A worker was ended for its silence. All have twice the time from now on: it may have been slow."""
        self._doublings = min(self._doublings + 1, MOST_DOUBLINGS)

    def made_up(self) -> None:
        """All that ended workers were at was done since: one doubling less.

        Workers that hang now and then so do not make the wait for the next one longer and longer, while slow
        work, which takes two doublings or more to get done, keeps some.
        """
        self._doublings = max(0, self._doublings - 1)

    def forget_pace(self, worker: int) -> None:
        """Until its next call it is taken to be as fast as is usual. How long it may be silent stays."""
        watched = self._watched[worker]
        for known in (watched.lately, watched.recent, watched.firsts):
            known.clear()
        self._usual.clear()

    def spent(self, worker: int, now: float) -> float:
        """Seconds that a worker has been at the call that it runs."""
        watched = self._watched[worker]
        return now - watched.began + watched.unseen

    def seconds(self, worker: int, effort: Effort) -> float | None:
        """How long a worker is expected to take for a call: by its own pace, or what is usual among the
        others; None where nobody has finished one of the kind."""
        own = self._watched[worker].pace(effort.kind)
        if own is None:
            own = self._usual_pace(effort.kind)
        return None if own is None else own * effort.work

    def _usual_pace(self, kind: Hashable) -> float | None:
        """The median of all workers' paces; it is asked for far more often than it changes."""
        if kind not in self._usual:
            paces = (watched.pace(kind) for watched in self._watched)
            known = [pace for pace in paces if pace is not None]
            self._usual[kind] = median(known) if known else None
        return self._usual[kind]

    def silence(self, worker: int, now: float) -> float:
        """Seconds since something was heard of a worker that has work."""
        return now - self._watched[worker].heard

    def limit(self, worker: int, efforts: Iterable[Effort]) -> float:
        """Seconds that a worker with these calls may be silent: what the longest of them is allowed."""
        watched = self._watched[worker]
        return max(self._allowed(effort, watched) for effort in efforts) * float(2**self._doublings)

    def _allowed(self, effort: Effort, watched: _Watched) -> float:
        patience, paces = self.patience, self._paces.get(effort.kind)
        unknown = patience.unknown + patience.unknown_per_megapixel * effort.pixels / 2**20
        if not paces:
            return unknown
        own = watched.paces.get(effort.kind, ())
        usual = max(median(paces), median(own)) if own else median(paces)
        like = max(patience.times * usual, patience.times_longest * max(paces)) * effort.work
        known = max(patience.least, like)
        return known if own else max(known, unknown)
