"""Workers that join the farm and leave it with their machines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError

import tilefarm
from tilefarm.errors import ClusterError
from tilefarm.execute.health import Fleet
from tilefarm.execute.layout import Layout, Slot
from tilefarm.execute.process import Pulse
from tilefarm.execute.protocol import WorkerInfo
from tilefarm.execute.ray_errors import is_loss, is_memory_death, last_line
from tilefarm.execute.roll import Roll

READY_SECONDS = 180.0
LATE_SECONDS = 30.0
"""After the first worker of a cluster is ready, the others have so long to be there when the work begins."""
MOST_DEATHS = 5
"""A worker whose process has ended so often before it was ready does not start there."""
_POLL_SECONDS = 0.5


@dataclass
class _Recruit:
    """A worker that was started and did not say yet that it is ready."""

    slot: Slot
    actor: Any
    asked: Any
    """Reference of its answer: to the greeting, or on the way there whether a process is up again."""
    answer: tuple[WorkerInfo, Pulse] | None = None
    trouble: str | None = None
    """What Ray last said of its process, which has ended and is started again."""
    probed: bool = False
    """Whether it was asked for a sign of life and not greeted."""
    deaths: int = 0
    """How often a process of its has ended that was up."""

    @property
    def is_given_up(self) -> bool:
        """Whether nobody asks it any more."""
        return self.deaths >= MOST_DEATHS


@dataclass
class Joining:
    """Starts workers and gives them to the fleet when they are ready."""

    fleet: Fleet
    start: Callable[[Slot], Any]
    """Makes an actor."""
    greet: Callable[[Any], Any]
    """(actor): asks for its WorkerInfo and Pulse; a reference."""
    roll: Roll | None = None
    """Of a cluster whose nodes come and go; None where the first workers are all there will ever be."""
    unfit: Callable[[WorkerInfo], str | None] = lambda info: None
    """Says why a worker is of no use."""
    info: list[WorkerInfo] = field(default_factory=list)
    """By the workers' numbers."""
    _slots: list[Slot] = field(default_factory=list)
    """Likewise."""
    _recruits: list[_Recruit] = field(default_factory=list)
    _refused: list[Slot] = field(default_factory=list)
    """Where what was started is of no use, or does not start, as long as the node is there."""

    def begin(self, layout: Layout) -> None:
        """Start the first workers and wait for them.

        Raises ClusterError where one cannot be started, or has another version of tilefarm, and where not all
        are ready in time. On a cluster one is enough: the others join when they can, or are refused when the
        run listens.
        """
        for slot in layout:
            self._invite(slot)
        end = time.monotonic() + READY_SECONDS
        while (waiting := self._expected()) and time.monotonic() < end:
            ray.wait([recruit.asked for recruit in waiting], timeout=_POLL_SECONDS)
            for recruit in waiting:
                reason = self._heard(recruit)
                if reason is not None and (self.roll is None or not recruit.is_given_up):
                    raise ClusterError(reason)
            if self.roll is not None and len(self._unanswered()) < len(self._recruits):
                end = min(end, time.monotonic() + LATE_SECONDS)
        late = self._unanswered()
        if late and (self.roll is None or len(late) == len(self._recruits)):
            raise ClusterError(
                next(filter(None, (recruit.trouble for recruit in late)), None)
                or f"the workers were not ready after {READY_SECONDS:.0f} s; "
                "look at 'ray status' for what the cluster is waiting for"
            )
        self._admit()

    def look(self) -> None:
        """Take note of nodes that came or left and of workers that are ready now; nothing is waited for."""
        nodes = None if self.roll is None else self.roll.news()
        if nodes is not None and self.roll is not None:
            self._part({node.name for node in nodes})
            for slot in self.roll.more(nodes, self._placed()):
                self._invite(slot)
        for recruit in self._unanswered():
            if (reason := self._heard(recruit)) is not None:
                self._recruits.remove(recruit)
                ray.kill(recruit.actor)
                self._refused.append(recruit.slot)
                self.fleet.refused(reason)
        self._admit()

    def leave_out(self, unfit: Callable[[WorkerInfo], str | None]) -> None:
        """Workers for which `unfit` gives a reason get no work where there are others."""
        self.unfit = unfit
        for worker, info in enumerate(self.info):
            self._judge(worker, info)

    def end(self) -> None:
        """End those that have not joined yet."""
        for recruit in self._recruits:
            ray.kill(recruit.actor)
        self._recruits = []

    def _invite(self, slot: Slot) -> None:
        actor = self.start(slot)
        self._recruits.append(_Recruit(slot, actor, self.greet(actor)))

    def _unanswered(self) -> list[_Recruit]:
        return [recruit for recruit in self._recruits if recruit.answer is None]

    def _expected(self) -> list[_Recruit]:
        return [recruit for recruit in self._unanswered() if not recruit.is_given_up]

    def _placed(self) -> list[tuple[Slot, bool]]:
        """All places that were filled, and whether by a worker that lives or is about to."""
        there = [(slot, not self.fleet.is_gone(worker)) for worker, slot in enumerate(self._slots)]
        there += [(recruit.slot, True) for recruit in self._recruits]
        return there + [(slot, False) for slot in self._refused]

    def _heard(self, recruit: _Recruit) -> str | None:
        """Look for a recruit's answer; says why where it will never be of use."""
        if recruit.is_given_up:
            return recruit.trouble
        if not ray.wait([recruit.asked], timeout=0)[0]:
            return None
        try:
            answer = ray.get(recruit.asked)
        except RayError as error:
            if not is_loss(error) or isinstance(error, ActorDiedError):
                return f"a worker did not start: {last_line(error)}"
            return self._process_ended(recruit, error)
        if recruit.probed:
            recruit.probed, recruit.asked = False, self.greet(recruit.actor)
            return None
        recruit.answer = answer
        version = answer[0].version
        if version == tilefarm.__version__:
            return None
        return (
            f"this is tilefarm {tilefarm.__version__} and the cluster's workers have {version}; "
            "install the same version on every node"
        )

    def _process_ended(self, recruit: _Recruit, error: RayError) -> str | None:
        """Ray starts it again, for ever; says why nobody waits for that any more.

        Until a process is up, which may take long, or as long as nobody has noticed that its machine is gone,
        Ray fails what it is asked in the same way: that is no death.
        """
        recruit.trouble = f"a worker did not start: {last_line(error)}"
        recruit.deaths += not recruit.probed
        if recruit.is_given_up:
            memory = is_memory_death(error)
            why = "its machine was low on memory" if memory else "see Ray's logs on its machine"
            recruit.trouble = f"a worker did not start: its process ended {MOST_DEATHS} times; {why}"
            return recruit.trouble
        recruit.probed, recruit.asked = True, recruit.actor.alive.remote()
        return None

    def _admit(self) -> None:
        """Those that are ready join, in the order in which they were started."""
        ready = [recruit for recruit in self._recruits if recruit.answer is not None]
        self._recruits = self._unanswered()
        for recruit in ready:
            if recruit.answer is not None:
                info, pulse = recruit.answer
                worker = self.fleet.add(recruit.actor, pulse)
                self._slots.append(recruit.slot)
                self.info.append(info)
                self.fleet.joined(worker, f"{info.device} ({info.device_name})")
                self._judge(worker, info)

    def _judge(self, worker: int, info: WorkerInfo) -> None:
        reason = None if self.fleet.is_gone(worker) else self.unfit(info)
        if reason is not None:
            self.fleet.set_aside(worker, reason)

    def _part(self, alive: set[str | None]) -> None:
        """End what is on nodes that are no more: Ray would look for a way to start it again."""
        for worker, slot in enumerate(self._slots):
            if slot.node not in alive and not self.fleet.is_gone(worker):
                ray.kill(self.fleet.actors[worker])
                self.fleet.departed(worker, "its machine has left the cluster")
        for recruit in [each for each in self._recruits if each.slot.node not in alive]:
            self._recruits.remove(recruit)
            ray.kill(recruit.actor)
        self._refused = [slot for slot in self._refused if slot.node in alive]
