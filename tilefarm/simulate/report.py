"""What a simulation found, as text and as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tilefarm.plan.build import RenderPlan
from tilefarm.report.console import counted, duration
from tilefarm.rundir.journal import Started
from tilefarm.simulate.run import Simulated
from tilefarm.simulate.verdict import Change, verdict
from tilefarm.simulate.world import Totals

SEEDS = 20


@dataclass(frozen=True)
class Simulation:
    """A job on a farm."""

    plan: RenderPlan
    started: Started
    """What `auto` means there."""
    workers: int
    run: Simulated
    changes: tuple[Change, ...]


def record(simulation: Simulation) -> dict[str, Any]:
    """For scripts. Times in seconds, traffic in bytes over the network, shares 0..1."""
    run, drawn = simulation.run, simulation.run.drawn(SEEDS)
    totals = run.totals
    return {
        "seconds": round(run.seconds, 3),
        "with_failures": {"seeds": SEEDS, **{name: round(drawn[at], 3) for name, at in _SPREAD.items()}},
        "workers": simulation.workers,
        "precision": simulation.started.precision,
        "batch": simulation.started.batch,
        "core": simulation.plan.core,
        "start_seconds": run.start_seconds,
        "sent_bytes": round(totals.sent),
        "received_bytes": round(totals.received),
        "between_bytes": round(totals.between),
        "busy": _busy(simulation, totals),
        "levels": [_level(simulation, level.index) for level in simulation.plan.levels],
        "limit": verdict(simulation.changes),
        "changes": [asdict(change) for change in simulation.changes],
    }


_SPREAD = {"tenth": SEEDS // 10, "median": SEEDS // 2, "ninetieth": SEEDS - 1 - SEEDS // 10}


def _level(simulation: Simulation, index: int) -> dict[str, Any]:
    level = simulation.plan.levels[index]
    stages = [stage for stage in simulation.run.stages if stage.level == index]
    totals = sum((stage.totals for stage in stages), Totals())
    painted = [stage for stage in stages if stage.name in ("painting", "evaluating")]
    moved = sum(stage.totals.sent + stage.totals.received for stage in painted)
    return {
        "level": index,
        "width": level.size.width,
        "height": level.size.height,
        "units": level.units,
        "seconds": round(totals.seconds, 3),
        "sent_bytes": round(totals.sent),
        "received_bytes": round(totals.received),
        "between_bytes": round(totals.between),
        "bytes_per_pixel": round(moved / level.size.pixels / sum(each.repeats for each in painted), 2),
        "busy": _busy(simulation, totals),
        "stages": [
            {"name": stage.name, "repeats": stage.repeats, "seconds": round(stage.totals.seconds, 3)}
            for stage in stages
        ],
    }


def _busy(simulation: Simulation, totals: Totals) -> dict[str, float]:
    """Shares of the time in which each part had something to do; several can at once."""
    seconds = max(totals.seconds, 1e-9)
    parts = {
        "workers": totals.working / simulation.workers,
        "link_out": totals.link_out,
        "link_in": totals.link_in,
        "driver_pictures_of_calls": totals.pixels,
        "driver_vectors": totals.vectors,
        "driver_disk": totals.disk,
        "driver_resizing": totals.decoding,
    }
    return {name: round(value / seconds, 4) for name, value in parts.items()}


def lines(simulation: Simulation) -> list[str]:
    """For people."""
    found = record(simulation)
    spread, busy = found["with_failures"], found["busy"]
    cut = f"pieces of {found['core']}" if any(level.pieces for level in simulation.plan.levels) else "tiles"
    text = [
        f"expected  {duration(found['seconds'])} on {counted(found['workers'], 'worker')}, "
        f"{found['precision']}, {cut}, batches of {found['batch']}",
    ]
    if duration(spread["ninetieth"]) != duration(found["seconds"]):
        text.append(
            f"failures  {duration(spread['tenth'])} to {duration(spread['ninetieth'])} in 16 of {SEEDS} draws"
        )
    text += [_level_line(level) for level in found["levels"]]
    text += [
        f"traffic   {_size(found['sent_bytes'])} to the workers, {_size(found['received_bytes'])} back, "
        f"{_size(found['between_bytes'])} between them",
        f"busy      workers {busy['workers']:.0%}, driver's link {busy['link_out']:.0%} out and "
        f"{busy['link_in']:.0%} in; the driver itself: pictures of calls "
        f"{busy['driver_pictures_of_calls']:.0%}, vectors {busy['driver_vectors']:.0%}, "
        f"disk {busy['driver_disk']:.0%}, resizing and writing {busy['driver_resizing']:.0%}",
        f"limit     {found['limit'].removeprefix('the limit is ')}",
    ]
    return text + [_change_line(change) for change in simulation.changes[:3] if change.saved >= 0.01]


def _level_line(level: dict[str, Any]) -> str:
    return (
        f"level {level['level'] + 1:<3} {level['width']}x{level['height']}: {duration(level['seconds'])}, "
        f"workers busy {level['busy']['workers']:.0%}, {level['bytes_per_pixel']:.1f} bytes a pixel and "
        "repetition"
    )


_NAMES = {
    "workers": "workers twice as fast",
    "network": "links twice as fast",
    "disk": "the driver's disk twice as fast",
    "memory": "memory for all vectors",
    "vectors": "the optimizer's arithmetic twice as fast",
    "driver": "the driver twice as fast with pictures of calls",
    "pictures": "resizing and writing twice as fast",
}


def _change_line(change: Change) -> str:
    return f"  with {_NAMES[change.what]}: {duration(change.seconds)}"


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
