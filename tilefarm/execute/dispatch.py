"""Handing out work to actors: bounded in flight, failures done again elsewhere, lost workers set aside.

A killed actor is restarted by Ray, but calls made meanwhile fail within seconds. So a worker that
failed to answer gets a probe, and no work until the probe comes back.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from tilefarm.errors import IncompleteError, ResourceError, TileFailedError
from tilefarm.execute.protocol import MAX_ATTEMPTS

IN_FLIGHT = 2
"""Calls per actor: one that runs and one whose tile is already there when it ends."""
POLL_SECONDS = 0.5
RESTART_SECONDS = 120.0

_Item = TypeVar("_Item")


@dataclass
class _Work(Generic[_Item]):
    item: _Item
    failed_on: list[int] = field(default_factory=list)
    life: int = 0
    """How often the worker that it was last given to had died by then."""
    alone: bool = False
    """Whether a worker died that had it: it gets one that has nothing else, so that it shows which it was."""

    @property
    def load(self) -> int:
        """What it counts among the calls that a worker may have."""
        return IN_FLIGHT if self.alone else 1


class Dispatcher(Generic[_Item]):
    """One run of items over a set of actors."""

    def __init__(
        self,
        actors: list[Any],
        call: Callable[[Any, _Item], Any],
        name: Callable[[_Item], str],
        home: Callable[[_Item], int] | None = None,
        ask: Callable[[Any], Any] | None = None,
        tell: Callable[[Any], None] = lambda answer: None,
    ) -> None:
        """`call(actor, item)` starts the work and returns a reference; `name(item)` is for messages.

        With `home(item)`, a number, an item goes to the actor of this number, modulo their count, as long
        as that is up, and items are given out in their order: those that are done wait for few others.

        `ask(actor)`, which returns a reference too, is called for every worker after about half a second in
        which nothing was finished; the answer goes to `tell(answer)` when it is there. Nobody waits for it.
        """
        self._home = home
        self._ask = ask
        self._tell = tell
        self._actors = actors
        self._call = call
        self._name = name
        self._again: deque[_Work[_Item]] = deque()
        self._running: dict[Any, tuple[_Work[_Item], int]] = {}
        self._deaths = [0] * len(actors)
        self._probes: dict[Any, int] = {}
        self._asked: dict[Any, int] = {}
        self._down_since: dict[int, float] = {}

    def run(self, items: Iterable[_Item]) -> Iterator[tuple[_Item, Any, int]]:
        """Every item, its result and its number of attempts, in the order in which they are finished.

        Whoever takes a result may be slow with it: the worker that it came from has its next work by then.
        Raises TileFailedError for an item that failed `MAX_ATTEMPTS` times (ResourceError where it was
        for want of memory) and IncompleteError when no
        worker is left.
        """
        source = iter(items)
        self._fill(source)
        while self._running or self._again:
            ready, _ = ray.wait([*self._asked, *self._probes, *self._running], timeout=POLL_SECONDS)
            if not ready:
                self._ask_all()
            for reference in ready:
                done = self._answered(reference)
                self._fill(source)
                if done is not None:
                    yield done

    def _answered(self, reference: Any) -> tuple[_Item, Any, int] | None:
        """Take note of an answer; the item, result and attempts where it is a finished one's."""
        if reference in self._probes:
            self._probed(reference)
            return None
        if reference in self._asked:
            del self._asked[reference]
            with suppress(RayError):  # the worker is gone, as the failure of its work will tell
                self._tell(ray.get(reference))
            return None
        work, worker = self._running.pop(reference)
        try:
            return work.item, ray.get(reference), len(work.failed_on) + 1
        except RayError as error:
            self._failed(work, worker, error)
            return None

    def _fill(self, source: Iterator[_Item]) -> None:
        """Give work to the workers that are up until each has `IN_FLIGHT` calls or there is no more."""
        load = {index: 0 for index in range(len(self._actors)) if index not in self._down_since}
        for work, worker in self._running.values():
            if worker in load:
                load[worker] += work.load
        while load and min(load.values()) < IN_FLIGHT:
            if self._again:
                work = self._again.popleft()
            else:
                item = next(source, None)
                if item is None:
                    return
                work = _Work(item)
            # a worker that failed this piece before gets it last
            worker = min(load, key=lambda index: (index in work.failed_on, load[index]))
            if self._home is not None:
                home = self._home(work.item) % len(self._actors)
                if home in load and home not in work.failed_on:
                    worker = home
            if load[worker] + work.load > IN_FLIGHT:
                self._again.appendleft(work)
                return
            work.life = self._deaths[worker]
            self._running[self._call(self._actors[worker], work.item)] = (work, worker)
            load[worker] += work.load

    def _failed(self, work: _Work[_Item], worker: int, error: RayError) -> None:
        work.alone = not isinstance(error, RayTaskError)
        if work.alone and work.life == self._deaths[worker]:  # the first to tell that the process is gone
            self._deaths[worker] += 1
            self._down_since[worker] = time.monotonic()
            self._probe(worker)
        self._again.append(work)
        work.failed_on.append(worker)
        if len(work.failed_on) >= MAX_ATTEMPTS:
            kind = ResourceError if isinstance(error, ResourceError) else TileFailedError
            raise kind(
                f"{self._name(work.item)} failed {MAX_ATTEMPTS} times, the last time with: {last_line(error)}"
            ) from error

    def _ask_all(self) -> None:
        """Ask the workers that owe no answer; nobody waits for one."""
        if self._ask is None:
            return
        owing = {*self._asked.values(), *self._down_since}
        for worker in range(len(self._actors)):
            if worker not in owing:
                self._asked[self._ask(self._actors[worker])] = worker

    def _probe(self, worker: int) -> None:
        self._probes[self._actors[worker].alive.remote()] = worker

    def _probed(self, reference: Any) -> None:
        worker = self._probes.pop(reference)
        try:
            ray.get(reference)
        except RayError as error:
            if time.monotonic() - self._down_since[worker] < RESTART_SECONDS:
                self._probe(worker)
            elif not self._probes and len(self._down_since) == len(self._actors):
                raise IncompleteError(
                    f"no worker is left: the last one did not come back in {RESTART_SECONDS:.0f} s "
                    f"({last_line(error)}); resume the run when the machines are back"
                ) from error
        else:
            del self._down_since[worker]


def last_line(error: Exception) -> str:
    """The last line of a message: where Ray puts the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
