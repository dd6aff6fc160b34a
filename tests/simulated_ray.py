"""Ray in simulated time: actors work, raise, die and hang as a test says, and hours pass at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError

from tilefarm.events import WorkerChanged
from tilefarm.execute.deadlines import AwakeClock, Effort, Patience
from tilefarm.execute.dispatch import Dispatcher, Errand
from tilefarm.execute.health import Fleet
from tilefarm.execute.process import Pulse

RESTART = 5.0
ANSWER = 0.01
MOST_SECONDS = 1e5


class RaisedError(RayTaskError):
    """What a call raised in its worker."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f"RayTaskError\n{self.text}"


class UnavailableError(ActorUnavailableError):
    """A worker's process is gone."""

    def __init__(self, text: str = "gone") -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


class DiedError(ActorDiedError):
    """A worker's process is gone and will not be started again."""

    def __init__(self) -> None:
        pass

    def __str__(self) -> str:
        return "never again"


@dataclass(frozen=True)
class Act:
    """What an actor does with a call."""

    kind: Literal["work", "raise", "die", "hang"] = "work"
    seconds: float = 1.0
    error: RayError | None = None


@dataclass(eq=False)
class Ref:
    """A call's reference."""

    at: float
    """When the answer is there."""
    value: Any = None
    error: RayError | None = None


@dataclass(eq=False)
class Actor:
    """One worker: its calls run one after the other."""

    world: World
    number: int
    life: int = 0
    idle_at: float = 0.0
    down_until: float = 0.0
    given: list[Any] = field(default_factory=list)
    running: list[Ref] = field(default_factory=list)
    memory_kills: int = 0

    def do(self, item: Any) -> Ref:
        """Give it a call."""
        world = self.world
        self.given.append(item)
        if world.time < self.down_until:
            return Ref(world.time + 2, error=UnavailableError("restarting"))
        act = world.act(self, item)
        begin = max(world.time, self.idle_at)
        end = begin + act.seconds if act.kind != "hang" else math.inf
        ref = Ref(end, item)
        if act.kind == "raise":
            ref.error = act.error or RaisedError(f"{item} went wrong")
        self.running.append(ref)
        self.idle_at = end
        if act.kind == "die" and end < math.inf:
            self.end(end, act.error or UnavailableError())
            self.idle_at = math.inf  # what is given to it before it is back is lost as well
        return ref

    def end(self, at: float, error: RayError, until: float | None = None) -> None:
        """The process ends at this time."""
        for ref in self.running:
            if ref.at >= at:
                ref.at, ref.error = at, error
        self.world.schedule(at, lambda: self._restart(at, error, until))

    def _restart(self, at: float, error: RayError, until: float | None) -> None:
        for ref in self.running:
            if ref.at > at:
                ref.at, ref.error = at, error
        self.life, self.running = self.life + 1, []
        self.down_until = self.idle_at = at + RESTART if until is None else until

    @property
    def alive(self) -> Actor:
        return self

    def remote(self) -> Ref:
        """Ask whether it is there."""
        world = self.world
        if self.down_until == math.inf:
            return Ref(world.time + 1, error=DiedError())
        if world.time < self.down_until:
            return Ref(world.time + 2, error=UnavailableError("restarting"))
        return Ref(world.time + ANSWER, self.pulse())

    def pulse(self) -> Pulse:
        return Pulse(100 * self.number + self.life, "here", self.memory_kills)


class World:
    """Stands for the module `ray`."""

    def __init__(self, workers: int, act: Callable[[Actor, Any], Act]) -> None:
        self.time = 0.0
        self.act = act
        self.actors = [Actor(self, number) for number in range(workers)]
        self.killed: list[int] = []
        self._plans: list[tuple[float, Callable[[], None]]] = []

    def schedule(self, at: float, what: Callable[[], None]) -> None:
        self._plans.append((at, what))
        self._pass(self.time)

    def wait(self, refs: list[Ref], timeout: float, num_returns: int = 1) -> tuple[list[Ref], list[Ref]]:
        assert self.time < MOST_SECONDS, "the driver waits for ever"
        end = self.time + timeout
        while True:
            self._pass(self.time)
            ready = [ref for ref in refs if ref.at <= self.time]
            if ready or self.time >= end:
                return ready[:num_returns], [ref for ref in refs if ref not in ready[:num_returns]]
            self.time = min([end, *(ref.at for ref in refs), *(at for at, _ in self._plans)])

    def get(self, ref: Ref) -> Any:
        assert ref.at <= self.time, "nobody may wait here"
        if ref.error is not None:
            raise ref.error
        return ref.value

    def kill(self, actor: Actor, no_restart: bool) -> None:
        assert not no_restart
        self.killed.append(actor.number)
        actor.end(self.time + 3, UnavailableError("killed"))

    def _pass(self, now: float) -> None:
        due = sorted((plan for plan in self._plans if plan[0] <= now), key=lambda plan: plan[0])
        self._plans = [plan for plan in self._plans if plan[0] > now]
        for _, what in due:
            what()


@dataclass
class Farm:
    """A fleet in a simulated world, and what was told of it."""

    world: World
    fleet: Fleet
    told: list[WorkerChanged]

    def dispatcher(self, pixels: int = 2**18, **more: Any) -> Dispatcher[Any]:
        more.setdefault("effort", lambda item: Effort("work", pixels))
        errand: Errand[Any] = Errand(lambda worker, item: self.world.actors[worker].do(item), str, **more)
        return Dispatcher(self.fleet, errand)

    def changes(self) -> list[tuple[int, str]]:
        return [(event.worker, event.change) for event in self.told]


def make_farm(
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    act: Callable[[Actor, Any], Act] = lambda actor, item: Act(),
    patience: Patience | None = None,
) -> Farm:
    """A farm whose workers do with every call what `act` says."""
    world = World(workers, act)
    for module in ("dispatch", "health"):
        monkeypatch.setattr(f"tilefarm.execute.{module}.ray", world)
    clock = AwakeClock(lambda: world.time)
    fleet = Fleet(list(world.actors), [actor.pulse() for actor in world.actors], patience, clock)
    told: list[WorkerChanged] = []
    fleet.listener = told.append
    return Farm(world, fleet, told)
