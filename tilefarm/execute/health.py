"""The actors of a farm and how each of them is: up, lost, set aside, or gone for good.

It outlives the passes over the work: a worker that was lost at the end of one is not up when the next begins.
A lost worker is asked whether it is there, and gets no work until a new process answers.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from tilefarm.errors import IncompleteError
from tilefarm.events import WorkerChange, WorkerChanged
from tilefarm.execute.call import in_a_line
from tilefarm.execute.deadlines import AwakeClock, Deadlines, Effort, Patience
from tilefarm.execute.process import Pulse

STRIKES = 3
"""A worker that failed so often is set aside while others are up."""
FORGIVING = 50
"""So many finished calls in a row wipe out a worker's failures: a machine that is taken now and then, as
cheap ones in clouds are, is no bad machine."""
RESTART_SECONDS = 120.0
_MEMORY_SIGNS = ("low on memory", "OutOfMemoryError", "memory usage threshold")
"""In what Ray says where its own monitor of memory ended a worker."""


@dataclass
class _Condition:
    pulse: Pulse
    deaths: int = 0
    down_since: float | None = None
    condemned: bool = False
    """Whether the process that it had was ended by us and may still answer for a moment."""
    died_twice: int = 0
    """Answers of Ray's in a row that it is dead and not restarted."""
    gone: bool = False
    strikes: int = 0
    streak: int = 0
    aside: bool = False


@dataclass(frozen=True)
class Leftover:
    """A call that is under way and whose result nobody wants any more."""

    worker: int
    life: int
    """How often the worker had been lost when it was given the call."""
    effort: Effort


class Fleet:
    """The actors of a farm, by their number."""

    def __init__(
        self,
        actors: list[Any],
        pulses: Iterable[Pulse],
        patience: Patience | None = None,
        clock: AwakeClock | None = None,
    ) -> None:
        """`pulses` are the actors' first."""
        self.actors = actors
        self.deadlines = Deadlines(len(actors), patience or Patience())
        self.listener: Callable[[WorkerChanged], None] = lambda event: None
        self.memory_deaths = 0
        """Workers that were ended for want of memory, as far as anyone knows."""
        self.leftovers: dict[Any, Leftover] = {}
        """By reference."""
        self.probes: dict[Any, int] = {}
        self._share = len(actors)
        """Workers that may work at a time."""
        self._conditions = [_Condition(pulse) for pulse in pulses]
        self._clock = clock or AwakeClock()
        self.now = self._clock()

    def begin_run(self, listener: Callable[[WorkerChanged], None]) -> None:
        """Tell this listener from now on. Who was set aside, or had to rest, has another chance."""
        self.listener = listener
        self._share, self.memory_deaths = len(self.actors), 0
        for condition in self._conditions:
            condition.strikes, condition.streak, condition.aside = 0, 0, False

    def members(self) -> list[int]:
        """The workers that work is planned for, be they up or about to be."""
        there = [number for number, each in enumerate(self._conditions) if not each.gone]
        good = [number for number in there if not self._conditions[number].aside]
        return (good or there)[: self._share]

    def up(self) -> list[int]:
        """The workers that can work now. Those that were set aside count only where no other is up."""
        there = [
            number
            for number, each in enumerate(self._conditions)
            if not each.gone and each.down_since is None
        ]
        good = [number for number in there if not self._conditions[number].aside]
        return (good or there)[: self._share]

    def awaited(self) -> set[int]:
        """The workers that work is planned for and that are expected back."""
        return {number for number in self.members() if self._is_awaited(self._conditions[number])}

    def lives(self, worker: int) -> int:
        """How often it was lost: tells failures of the process that is there from those of the one before."""
        return self._conditions[worker].deaths

    def is_down(self, worker: int) -> bool:
        """Whether it was lost and did not come back yet."""
        return self._conditions[worker].down_since is not None

    def look(self) -> None:
        """Let time pass. Raises IncompleteError when no worker is left, or none came back in time."""
        self.now = self._clock()
        self.deadlines.overlooked(self._clock.unseen)
        there = [each for each in self._conditions if not each.gone]
        if any(each.down_since is None or self._is_awaited(each) for each in there):
            return
        why = (
            f"the last one did not come back in {RESTART_SECONDS:.0f} s" if there else "Ray starts none again"
        )
        raise IncompleteError(f"no worker is left: {why}; resume the run when the machines are back")

    def did_well(self, worker: int) -> None:
        """It finished a call."""
        condition = self._conditions[worker]
        condition.streak += 1
        if condition.streak >= FORGIVING and not condition.aside:
            condition.strikes = 0

    def struck(self, worker: int, reason: str) -> None:
        """It failed a call."""
        condition = self._conditions[worker]
        condition.strikes, condition.streak = condition.strikes + 1, 0
        others = [number for number in self.up() if number != worker]
        if condition.strikes >= STRIKES and not condition.aside and others:
            condition.aside = True
            self._tell(
                worker, "set aside", f"it failed {condition.strikes} times, the last time with: {reason}"
            )

    def lost(self, worker: int, error: Exception) -> None:
        """Its process has ended."""
        if any(sign in str(error) for sign in _MEMORY_SIGNS):
            self._down(worker, "lost", "its machine was low on memory")
            self._ran_out_of_memory(worker)
        else:  # what Ray says of it is about connections
            self._down(worker, "lost", "its process or its machine has ended")

    def hung(self, worker: int, seconds: float) -> None:
        """It said nothing for too long: it is ended and started again."""
        self.deadlines.killed()
        self._end(worker, "hung", f"nothing was heard of it for {seconds:.0f} s")

    def broken(self, worker: int, reason: str) -> None:
        """Its process cannot use its device any more: it is ended and started again."""
        self._end(worker, "lost", reason)

    def probed(self, reference: Any) -> None:
        """Take note of the answer to a probe."""
        worker = self.probes.pop(reference)
        condition = self._conditions[worker]
        try:
            pulse = ray.get(reference)
        except RayError as error:
            condition.died_twice = condition.died_twice + 1 if isinstance(error, ActorDiedError) else 0
            if condition.died_twice >= 2:
                condition.gone = True
                self._tell(worker, "gone", "Ray does not start it again")
            else:
                self._probe(worker)
            return
        condition.died_twice = 0
        if condition.condemned and _is_same(pulse, condition.pulse):
            self._probe(worker)
        else:
            self._back(worker, pulse)

    def leave(self, calls: dict[Any, Leftover]) -> None:
        """Take over calls, by reference: their workers are busy with them still, and may hang in them."""
        self.leftovers.update(calls)

    def left(self, reference: Any) -> None:
        """A call that was left has ended, however it did."""
        leftover = self.leftovers.pop(reference)
        worker = leftover.worker
        try:
            ray.get(reference)
        except RayError as error:
            if is_loss(error) and leftover.life == self.lives(worker):
                self.lost(worker, error)
        self.deadlines.failed(worker, self.now)

    def _is_awaited(self, condition: _Condition) -> bool:
        since = condition.down_since
        return since is not None and not condition.gone and self.now - since < RESTART_SECONDS

    def _back(self, worker: int, pulse: Pulse) -> None:
        condition, before = self._conditions[worker], self._conditions[worker].pulse
        condition.pulse, condition.condemned, condition.down_since = pulse, False, None
        self.deadlines.restarted(worker, self.now)
        same_node = [each for each in self._conditions if each.pulse.node == pulse.node]
        for each in same_node:  # what the kernel did until now explains no later death
            each.pulse = replace(each.pulse, memory_kills=pulse.memory_kills)
        if (
            not _is_same(before, pulse)
            and before.node == pulse.node
            and pulse.memory_kills > before.memory_kills
        ):
            self._ran_out_of_memory(worker)
        self._tell(worker, "back", "", pulse.process if pulse.node == platform.node() else None)

    def _end(self, worker: int, change: WorkerChange, reason: str) -> None:
        self._conditions[worker].condemned = True
        ray.kill(self.actors[worker], no_restart=False)
        self._down(worker, change, reason)

    def _down(self, worker: int, change: WorkerChange, reason: str) -> None:
        condition = self._conditions[worker]
        condition.deaths += 1
        condition.down_since = self.now
        self.leftovers = {ref: of for ref, of in self.leftovers.items() if of.worker != worker}
        self._probe(worker)  # before the listener, which may raise, and this worker be wanted again
        self._tell(worker, change, reason)
        self.struck(worker, reason)

    def _ran_out_of_memory(self, worker: int) -> None:
        """Fewer workers at a time from now on: half of them."""
        self.memory_deaths += 1
        before, self._share = self._share, max(1, (self._share + 1) // 2)
        if self._share < before:
            self._tell(worker, "fewer", "it was ended for want of memory")

    def _probe(self, worker: int) -> None:
        self.probes[self.actors[worker].alive.remote()] = worker

    def _tell(self, worker: int, change: WorkerChange, reason: str, process: int | None = None) -> None:
        self.listener(WorkerChanged(worker, change, reason, len(self.up()), process))


def _is_same(one: Pulse, other: Pulse) -> bool:
    """Whether they are of one process. In containers on other machines its number may come again."""
    return (one.node, one.process) == (other.node, other.process)


def is_loss(error: Exception) -> bool:
    """Whether an answer means that the worker's process is gone, and not that its work raised."""
    return isinstance(error, RayError) and not isinstance(error, RayTaskError)


def last_line(error: Exception) -> str:
    """What was raised in the worker, in one line; else the last line of Ray's message: the cause, mostly."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return in_a_line(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
