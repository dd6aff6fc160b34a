"""The actors of a farm and how each of them is: up, lost, set aside, or gone for good.

It outlives the passes over the work: a worker that was lost at the end of one is not up when the next begins.
A lost worker is asked whether it is there, and gets no work until a new process answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError

from tilefarm.errors import IncompleteError
from tilefarm.events import WorkerChange, WorkerChanged
from tilefarm.execute.condition import Condition, at_a_time, is_same, process_here
from tilefarm.execute.deadlines import AwakeClock, Deadlines, Effort, Patience
from tilefarm.execute.process import Pulse
from tilefarm.execute.ray_errors import is_loss, is_memory_death

STRIKES = 3
"""A worker that failed so often is set aside while others are up."""
FORGIVING = 50
"""So many finished calls in a row wipe out a worker's failures: a machine that is taken now and then, as
cheap ones in clouds are, is no bad machine."""
RESTART_SECONDS = 120.0


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
        actors: Iterable[Any] = (),
        pulses: Iterable[Pulse] = (),
        patience: Patience | None = None,
        clock: AwakeClock | None = None,
    ) -> None:
        """`pulses` are the actors' first."""
        self.actors: list[Any] = [*actors]
        self.deadlines = Deadlines(len(self.actors), patience or Patience())
        self.on_look: Callable[[], None] = lambda: None
        """Called at each look: workers may be added, and depart."""
        self.grows = False
        """Whether workers may be added: a farm without any waits for some."""
        self.listener: Callable[[WorkerChanged], None] = lambda event: None
        self.memory_deaths = 0
        """Workers that were ended for want of memory, as far as anyone knows."""
        self.leftovers: dict[Any, Leftover] = {}
        """By reference."""
        self.probes: dict[Any, int] = {}
        self._shares: dict[str, int] = {}
        """Workers that may work at a time, on nodes that were short of memory."""
        self._deserted: float | None = None
        """Since when no worker is there, nor expected back."""
        self._conditions = [Condition(pulse) for pulse in pulses]
        self._clock = clock or AwakeClock()
        self.now = self._clock()
        self.judged_at = self.now
        """When hung workers were looked for, in this pass or one before: many passes may be short."""

    def begin_run(self, listener: Callable[[WorkerChanged], None]) -> None:
        """Tell this listener from now on. Who was set aside, or had to rest, has another chance."""
        self.listener = listener
        self._shares, self.memory_deaths = {}, 0
        for condition in self._conditions:
            condition.strikes, condition.streak, condition.aside = 0, 0, False

    def add(self, actor: Any, pulse: Pulse) -> int:
        """A worker more; its number. It is not there yet: see `joined`."""
        self.actors.append(actor)
        self.deadlines.joined(self.now)
        self._conditions.append(Condition(pulse, down_since=self.now))
        return len(self.actors) - 1

    def joined(self, worker: int, described: str) -> None:
        """A worker that was added is there."""
        condition = self._conditions[worker]
        condition.down_since = None
        self._tell(worker, "joined", described, process_here(condition.pulse))

    def refused(self, reason: str) -> None:
        """The worker that was to be the next did not start, or is of no use."""
        self._tell(len(self.actors), "refused", reason)

    def set_aside(self, worker: int, reason: str) -> None:
        """In this run it gets work only where no other worker is up."""
        self._conditions[worker].aside = True
        self._tell(worker, "set aside", reason)

    def departed(self, worker: int, reason: str) -> None:
        """It will not come back; what it was at fails by itself."""
        condition = self._conditions[worker]
        if condition.gone:
            return
        was_up, condition.gone = condition.down_since is None, True
        if was_up:
            condition.deaths += 1
            condition.down_since = self.now
        self.leftovers = {ref: of for ref, of in self.leftovers.items() if of.worker != worker}
        self.probes = {ref: of for ref, of in self.probes.items() if of != worker}
        if was_up:
            self._tell(worker, "lost", reason)
        self._tell(worker, "gone", reason)

    def is_gone(self, worker: int) -> bool:
        """Whether it will not come back."""
        return self._conditions[worker].gone

    def members(self) -> list[int]:
        """The workers that work is planned for, be they up or about to be."""
        return at_a_time(
            self._conditions,
            (number for number, each in enumerate(self._conditions) if not each.gone),
            self._shares,
        )

    def up(self) -> list[int]:
        """The workers that can work now. Those that were set aside count only where no other is up."""
        there = [
            number
            for number, each in enumerate(self._conditions)
            if not each.gone and each.down_since is None
        ]
        return at_a_time(self._conditions, there, self._shares)

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
        self.on_look()
        there = [each for each in self._conditions if not each.gone]
        if any(each.down_since is None or self._is_awaited(each) for each in there):
            self._deserted = None
            return
        self._deserted = self.now if self._deserted is None else self._deserted
        if self.grows and self.now - self._deserted < RESTART_SECONDS:
            return
        why = (
            f"the last one did not come back in {RESTART_SECONDS:.0f} s" if there else "Ray starts none again"
        )
        if self.grows:
            why = f"none was there for {RESTART_SECONDS:.0f} s"
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
            self.set_aside(worker, f"it failed {condition.strikes} times, the last time with: {reason}")

    def lost(self, worker: int, error: Exception) -> None:
        """Its process has ended."""
        if is_memory_death(error):
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
        if condition.condemned and is_same(pulse, condition.pulse):
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
        else:  # a slow worker's calls may all end like this
            self.deadlines.finished(worker, leftover.effort, self.now)

    def _is_awaited(self, condition: Condition) -> bool:
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
            not is_same(before, pulse)
            and before.node == pulse.node
            and pulse.memory_kills > before.memory_kills
        ):
            self._ran_out_of_memory(worker)
        self._tell(worker, "back", "", process_here(pulse))

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
        """Fewer workers of its node at a time from now on: half of them."""
        self.memory_deaths += 1
        node = self._conditions[worker].pulse.node
        there = sum(each.pulse.node == node and not each.gone for each in self._conditions)
        before = self._shares.get(node, there)
        self._shares[node] = max(1, (before + 1) // 2)
        if self._shares[node] < before:
            self._tell(worker, "fewer", "it was ended for want of memory")

    def _probe(self, worker: int) -> None:
        self.probes[self.actors[worker].alive.remote()] = worker

    def _tell(self, worker: int, change: WorkerChange, reason: str, process: int | None = None) -> None:
        self.listener(WorkerChanged(worker, change, reason, len(self.up()), process))
