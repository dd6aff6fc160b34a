"""A whole run in simulated time: every kind of stage once, and multiplied where its repetitions are alike.

Rounds of a level are alike, and so are its evaluations but for the first. Failures disturb some of them:
a few such are simulated for every stage, and each seed draws how many there are, and which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tilefarm.simulate.crew import SimCrew
from tilefarm.simulate.engine import run_once
from tilefarm.simulate.farm_file import Driver
from tilefarm.simulate.losses import disturbed
from tilefarm.simulate.work import LevelWork, Stage
from tilefarm.simulate.world import Totals, World


@dataclass(frozen=True)
class StageTime:
    """What a stage took, all its repetitions together, undisturbed."""

    level: int
    name: str
    repeats: int
    totals: Totals
    disturbed: tuple[float, ...] = ()
    """Seconds of single repetitions in which workers failed, with what they cost in those after them."""
    share_disturbed: float = 0.0
    """How likely a repetition is such a one."""


@dataclass(frozen=True)
class Simulated:
    """A run."""

    start_seconds: float
    stages: tuple[StageTime, ...]

    @property
    def totals(self) -> Totals:
        """Of the undisturbed run, without its start."""
        return sum((stage.totals for stage in self.stages), Totals())

    @property
    def seconds(self) -> float:
        """The undisturbed run."""
        return self.start_seconds + self.totals.seconds

    def drawn(self, seeds: int) -> list[float]:
        """Seconds of so many runs whose failures were drawn, in rising order."""
        return sorted(self._draw(np.random.default_rng(seed)) for seed in range(seeds))

    def _draw(self, random: np.random.Generator) -> float:
        seconds = self.start_seconds
        for stage in self.stages:
            count = int(random.binomial(stage.repeats, stage.share_disturbed))
            one = stage.totals.seconds / stage.repeats
            seconds += one * (stage.repeats - count)
            if count:
                seconds += float(random.choice(stage.disturbed, count).sum())
        return seconds


def simulate(
    levels: Sequence[LevelWork], crew: SimCrew, driver: Driver, *, failures: bool = True
) -> Simulated:
    """Run the levels one after the other. Without `failures` no worker is lost."""
    world = World(crew, driver, now=driver.start_seconds)
    stages: list[StageTime] = []
    for level in levels:
        for stage in level.stages:
            left = stage.repeats
            while left:
                done = _stage(world, replace(stage, repeats=left), level.index, failures)
                stages.append(done)
                left -= done.repeats
    return Simulated(driver.start_seconds, tuple(stages))


def _stage(world: World, stage: Stage, level: int, failures: bool) -> StageTime:
    """One repetition, multiplied by as many as there are before somebody joins, or all.

    In the next one first calls would not be first ones any more.
    """
    before, began, warm = replace(world.totals), world.now, [*world.warm]
    losses = disturbed(world, stage) if failures else ((), 0.0)
    run_once(world, stage)
    one = world.totals - before
    one.seconds = seconds = world.now - began
    joins = [worker.joins_after for worker in world.crew.workers if worker.joins_after > began]
    repeats = stage.repeats
    if joins:
        alike = int((min(joins) - began) / max(seconds, 1e-9))
        repeats = max(1, min(stage.repeats, alike))
    if world.warm != warm:
        repeats = 1
    world.now = began + seconds * repeats
    world.totals = before + one * repeats
    return StageTime(level, stage.name, repeats, one * repeats, *losses)
