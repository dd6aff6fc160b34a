"""A whole run in simulated time: every kind of stage once, and multiplied where its repetitions are alike.

Rounds of a level are alike, and so are its evaluations but for the first. Failures disturb some of them:
a few such are simulated for every stage, and each seed draws how many there are, and which.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tilefarm.simulate.crew import SimCrew
from tilefarm.simulate.engine import NOTICED_SECONDS, run_pass
from tilefarm.simulate.farm_file import Driver
from tilefarm.simulate.work import LevelWork, Stage
from tilefarm.simulate.world import Totals, World

SAMPLES = 6
"""Disturbed repetitions of a stage that are simulated: others are like one of them."""
RARE = 0.05
"""Failures of a stage in all its repetitions below which one is enough."""


@dataclass(frozen=True)
class StageTime:
    """What a stage took, all its repetitions together, undisturbed."""

    level: int
    name: str
    repeats: int
    totals: Totals
    disturbed: tuple[float, ...] = ()
    """Seconds of single repetitions in which workers failed."""
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
    disturbed = _disturbed(world, stage) if failures else ((), 0.0)
    _once(world, stage)
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
    return StageTime(level, stage.name, repeats, one * repeats, *disturbed)


def _once(world: World, stage: Stage) -> None:
    began = world.now
    for work in stage.passes:
        run_pass(world, work)
    if stage.kept:
        world.keep(stage.kept, stage.most_kept, world.now - began)
    chores = stage.chores
    world.chores(chores.pixels, chores.vectors, chores.resident, chores.synced)


def _disturbed(world: World, stage: Stage) -> tuple[tuple[float, ...], float]:
    """Seconds of a few repetitions with failures at random times, and how likely there is any in one."""
    rates = np.array([worker.failures_per_second for worker in world.crew.workers])
    if not stage.passes or not rates.any():
        return (), 0.0
    quiet = _copy(world)
    _once(quiet, stage)
    length = quiet.now - world.now
    expected = float(rates.sum()) * length
    random = np.random.default_rng(len(stage.passes[0].items))
    samples = []
    for _ in range(SAMPLES if expected * stage.repeats > RARE else 1):
        count = _poisson_but_zero(random, expected)
        if stage.held:
            samples.append(length + sum(_done_again(world, stage, length, random) for _ in range(count)))
            continue
        trial = _copy(world)
        when = world.now + random.random(count) * length
        which = random.choice(len(rates), count, p=rates / rates.sum())
        trial.failures = sorted(zip(when.tolist(), which.tolist(), strict=True))
        _once(trial, stage)
        samples.append(trial.now - world.now)
    return tuple(samples), 1 - float(np.exp(-expected))


def _done_again(world: World, stage: Stage, length: float, random: np.random.Generator) -> float:
    """Seconds that a loss costs where vectors lie with the workers, at a random time.

    The repetition is broken off, vectors go out anew, and what was done since they were kept last is done
    again. When the worker is back they are kept and go out once more, with its share.
    """
    keeping, handing = world.keeping(stage.kept), world.handing_out(stage.held)
    between = min(keeping / stage.most_kept, length * (stage.repeats - 1))
    broken_off, since_kept = random.random(2) * (length, between)
    return NOTICED_SECONDS + float(broken_off + since_kept) + 2 * handing + keeping


def _poisson_but_zero(random: np.random.Generator, expected: float) -> int:
    """How many failures there are where there is one at least."""
    if expected < 1e-3:
        return 1
    while True:
        if count := int(random.poisson(expected)):
            return count


def _copy(world: World) -> World:
    """One that goes another way. What never changes is shared."""
    crew, driver = world.crew, world.driver
    memo = {id(crew): crew, id(driver): driver}
    return copy.deepcopy(world, memo)
