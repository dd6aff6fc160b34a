"""What lost workers cost: a few disturbed repetitions of a stage, each with what comes after it.

A worker that is lost is away for many repetitions, as a rule. The first of them are simulated; what the rest
of its absence costs follows from how long these take.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from tilefarm.simulate.engine import NOTICED_SECONDS, run_once
from tilefarm.simulate.work import Pass, Stage
from tilefarm.simulate.world import World

SAMPLES = 6
"""Disturbed repetitions of a stage that are simulated: others are like one of them."""
RARE = 0.05
"""Failures of a stage in all its repetitions below which one is enough."""
FOLLOWED = 2
"""Repetitions after a disturbed one that are simulated: in the first, pieces still move to other workers."""


def disturbed(world: World, stage: Stage) -> tuple[tuple[float, ...], float]:
    """Seconds of a few repetitions with failures at random times, and how likely there is any in one.

    What the missing workers cost in the repetitions after is counted with the one in which they were lost.
    """
    rates = np.array([worker.failures_per_second for worker in world.crew.workers])
    if not stage.passes or not rates.any():
        return (), 0.0
    quiet = _copy(world)
    length = _once(quiet, stage)
    usual = _once(quiet, stage) if stage.repeats > 1 else length
    expected = float(rates.sum()) * length
    random = np.random.default_rng(len(stage.passes[0].items))
    count = SAMPLES if expected * stage.repeats > RARE else 1
    chance = random.spawn(1)[0]
    samples = []
    for number in range(count):
        # early, late and between, so that on average half of the stage is left
        left = int((number + 0.5) / count * stage.repeats)
        losses = _poisson_but_zero(random, expected)
        if stage.held:
            which = chance.choice(len(rates), losses, p=rates / rates.sum())
            again = (_done_again(world, stage, length, random) for _ in range(losses))
            away = (_kept_waiting(world, stage, int(worker), usual, left) for worker in which)
            samples.append(length + sum(again) + sum(away))
            continue
        trial = _copy(world)
        when = world.now + random.random(losses) * length
        which = random.choice(len(rates), losses, p=rates / rates.sum())
        trial.failures = sorted(zip(when.tolist(), which.tolist(), strict=True))
        one = _once(trial, stage)
        samples.append(one + _after(trial, world.lives, stage, usual, left))
    return tuple(samples), 1 - float(np.exp(-expected))


def _after(trial: World, lives: list[int], stage: Stage, usual: float, left: int) -> float:
    """Seconds that the `left` repetitions after a loss take longer than the `usual` seconds each.

    `lives`: before the loss. Who is away for longer than a few repetitions is missing in all the others as
    it was in the last of these; it can cost no more than what is left of the stage.
    """
    more, one = 0.0, usual
    for _ in range(min(FOLLOWED, left)):
        if not trial.failures and not _missing(trial, lives):
            return more
        one = _once(trial, stage)
        more, left = more + one - usual, left - 1
    slow = min(_missing(trial, lives), left * one)
    if slow <= 0 or one <= 0:
        return more
    more += slow * max(0.0, 1 - usual / one)
    trial.now += slow
    if slow < left * one:  # it is back, warms up and gets its pieces
        more += _once(trial, stage) - usual
    return more


def _missing(trial: World, lives: list[int]) -> float:
    """Seconds until the last one that was lost is back."""
    lost = [worker for worker, before in enumerate(lives) if trial.lives[worker] > before]
    return max(
        (trial.up_at[worker] - trial.now for worker in lost if trial.up_at[worker] > trial.now), default=0.0
    )


def _done_again(world: World, stage: Stage, length: float, random: np.random.Generator) -> float:
    """Seconds that a loss costs where vectors lie with the workers, at a random time.

    The repetition is broken off, vectors go out anew, and what was done since they were kept last is done
    again. When the worker is back they are kept and go out once more, with its share.
    """
    keeping, handing = world.keeping(stage.kept), world.handing_out(stage.held)
    between = min(keeping / stage.most_kept, length * (stage.repeats - 1))
    broken_off, since_kept = random.random(2) * (length, between)
    return NOTICED_SECONDS + float(broken_off + since_kept) + 2 * handing + keeping


def _kept_waiting(world: World, stage: Stage, worker: int, usual: float, left: int) -> float:
    """Seconds that the others take longer where vectors lie with the workers, until one is back.

    They go on without it when the vectors are handed out anew.
    """
    passed = NOTICED_SECONDS + world.handing_out(stage.held)
    absent = world.crew.workers[worker].restart_seconds - passed
    up = len(world.present().up)
    if absent <= 0 or up < 2:
        return max(0.0, absent) if up < 2 else 0.0
    trial = _copy(world)
    trial.lives[worker] += 1
    trial.warm[worker] = not trial.crew.workers[worker].first_call_seconds
    trial.up_at[worker] = trial.free[worker] = trial.now + absent
    passes = tuple(_shared_among(each, up - 1) for each in stage.passes)
    return _after(trial, world.lives, replace(stage, passes=passes), usual, left)


def _shared_among(work: Pass, workers: int) -> Pass:
    """Arithmetic on vectors has a share for each worker: so many do it together."""
    count = len(work.items)
    if work.kind != "core" or work.level or count <= workers:
        return work
    more = count / workers
    items = (
        replace(
            item,
            sent=round(item.sent * more),
            received=round(item.received * more),
            between=round(item.between * more),
            vectors=item.vectors * more,
        )
        for item in work.items[:workers]
    )
    return replace(work, items=tuple(items))


def _poisson_but_zero(random: np.random.Generator, expected: float) -> int:
    """How many failures there are where there is one at least."""
    if expected < 1e-3:
        return 1
    while True:
        if count := int(random.poisson(expected)):
            return count


def _once(world: World, stage: Stage) -> float:
    """Seconds of one repetition."""
    began = world.now
    run_once(world, stage)
    return world.now - began


def _copy(world: World) -> World:
    """One that goes another way. What never changes is shared."""
    crew, driver = world.crew, world.driver
    memo = {id(crew): crew, id(driver): driver}
    return copy.deepcopy(world, memo)
