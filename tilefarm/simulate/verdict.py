"""What limits a farm: the same run with one thing twice as fast, or large, at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tilefarm.simulate.crew import SimCrew
from tilefarm.simulate.farm_file import Driver
from tilefarm.simulate.run import Simulated, simulate
from tilefarm.simulate.work import LevelWork

WORTH_TELLING = 0.03
"""A share of the time that is saved."""
ADVICE = {
    "workers": "the workers' computing: add workers, or faster ones",
    "network": "the network: give the machines faster links, the driver's first; with method: exact "
    "compute.transport: half sends less",
    "disk": "the driver's disk: use a faster one for the run folder",
    "memory": "the driver's memory, since vectors that it cannot hold are read from the disk in every step: "
    "give its machine more, or lower optimizer.history",
    "vectors": "the optimizer's arithmetic on the driver's machine: lower optimizer.history, or take one "
    "with faster memory",
    "driver": "the driver's handling of pictures, one after the other: use a machine with a faster "
    "processor; a larger tiles.size makes fewer calls",
    "pictures": "resizing and writing of pictures",
}


@dataclass(frozen=True)
class Change:
    """One thing twice as fast, and what that saves."""

    what: str
    seconds: float
    """Of the whole run."""
    saved: float
    """Share of the time, 0..1."""


def changes(
    levels: Sequence[LevelWork], crew: SimCrew, driver: Driver, base: Simulated
) -> tuple[Change, ...]:
    """What would save how much, the most first."""
    found = []
    for what in ADVICE:
        if what == "memory" and _held(levels) <= driver.memory_gib * 2**30:
            continue
        other = simulate(levels, *_with(what, levels, crew, driver), failures=False).seconds
        found.append(Change(what, other, 1 - other / base.seconds))
    return tuple(sorted(found, key=lambda change: -change.saved))


def verdict(found: Sequence[Change]) -> str:
    """The bottleneck in plain words, and what to change."""
    first = found[0]
    if first.saved < WORTH_TELLING:
        return "nothing that could be made faster stands out: starting and small levels take the time"
    how = "enough of it" if first.what == "memory" else "twice the speed"
    return f"the limit is {ADVICE[first.what]} ({how}: {first.saved:.0%} less time)"


def _held(levels: Sequence[LevelWork]) -> float:
    return max(stage.chores.resident for level in levels for stage in level.stages)


def _with(what: str, levels: Sequence[LevelWork], crew: SimCrew, driver: Driver) -> tuple[SimCrew, Driver]:
    if what == "workers":
        workers = (
            replace(each, pixel_steps_s=2 * each.pixel_steps_s, call_seconds=each.call_seconds / 2)
            for each in crew.workers
        )
        return replace(crew, workers=tuple(workers)), driver
    if what == "network":
        machines = (
            replace(each, link=None if each.link is None else 2 * each.link, latency=each.latency / 2)
            for each in crew.machines
        )
        return replace(crew, machines=tuple(machines)), _faster(driver, "link_mbit")
    if what == "disk":
        return crew, _faster(driver, "disk_mb_s", seconds="sync_seconds")
    if what == "memory":
        return crew, driver.model_copy(update={"memory_gib": _held(levels) / 2**30})
    if what == "vectors":
        return crew, _faster(driver, "vectors_mb_s")
    if what == "pictures":
        return crew, _faster(driver, "megapixels_s")
    return crew, _faster(driver, "pixels_mb_s", seconds="call_seconds")


def _faster(driver: Driver, speed: str, seconds: str | None = None) -> Driver:
    update = {speed: 2 * getattr(driver, speed)}
    if seconds is not None:
        update[seconds] = getattr(driver, seconds) / 2
    return driver.model_copy(update=update)
