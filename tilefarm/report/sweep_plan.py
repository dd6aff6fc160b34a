"""What a sweep will take: every run's forecast, and the total."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from tilefarm.batch import prepared_sweep
from tilefarm.forecast import Forecast, forecast
from tilefarm.prepare import Prepared, gib
from tilefarm.report.console import duration
from tilefarm.rundir.summary import plan_record
from tilefarm.spec.sweep import Sweep

_OF_NO_COST = {"name", "content", "styles", "output", "init", "seed"}
"""Keys that do not change what a run of the same plan takes."""
_WEIGHTS = ("content_weight", "style_weight", "tv_weight")
"""Of which only counts whether they are 0."""


@dataclass(frozen=True)
class SweepPlan:
    """A sweep's runs in their order."""

    name: str
    runs: tuple[tuple[Prepared, Forecast], ...]

    @property
    def seconds(self) -> float | None:
        """Of all runs together; None where one is not known."""
        known = [expected.seconds for _, expected in self.runs if expected.seconds is not None]
        return sum(known) if len(known) == len(self.runs) else None

    @property
    def disk_bytes(self) -> int:
        """Of all run folders and outputs."""
        return sum(expected.needs.disk_bytes for _, expected in self.runs)

    @property
    def flop(self) -> float:
        """Of all runs."""
        return sum(expected.needs.flop for _, expected in self.runs)

    @property
    def notes(self) -> list[str]:
        """What a user should know, each once; shortages first."""
        shortages = [expected.shortage for _, expected in self.runs if expected.shortage is not None]
        return list(dict.fromkeys([*shortages, *(note for run, _ in self.runs for note in run.notes)]))


def sweep_plan(sweep: Sweep, timed: bool) -> SweepPlan:
    """Prepare and forecast all runs; those of the same cost share a forecast. Raises JobError."""
    known: dict[str, Forecast] = {}
    runs = []
    for prepared in prepared_sweep(sweep):
        key = _cost(prepared)
        if key not in known:
            known[key] = forecast(prepared, timed)
        runs.append((prepared, known[key]))
    return SweepPlan(sweep.name, tuple(runs))


def sweep_record(plan: SweepPlan) -> dict[str, Any]:
    """The plan for scripts."""
    return {
        "name": plan.name,
        "count": len(plan.runs),
        "runs": [
            {
                "name": prepared.job.name,
                "output": str(prepared.job.output.path),
                "disk_bytes": expected.needs.disk_bytes,
                "flop": expected.needs.flop,
                "seconds": expected.seconds,
                **plan_record(expected.plan),
            }
            for prepared, expected in plan.runs
        ],
        "total": {"disk_bytes": plan.disk_bytes, "flop": plan.flop, "seconds": plan.seconds},
        "notes": plan.notes,
    }


def sweep_table(plan: SweepPlan) -> RenderableType:
    """One row per run, then the total and notes, for a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    table.add_column("run", f"{len(plan.runs)} runs", overflow="fold")
    footers = ("", "", gib(plan.disk_bytes), _tera(plan.flop), _time(plan.seconds))
    for name, footer in zip(("size", "levels", "disk", "TFLOP", "time"), footers, strict=True):
        table.add_column(name, footer, justify="right")
    for prepared, expected in plan.runs:
        needs = expected.needs
        cells = (gib(needs.disk_bytes), _tera(needs.flop), _time(expected.seconds))
        table.add_row(prepared.job.name, str(prepared.plan.output), str(len(prepared.plan.levels)), *cells)
    lines: Sequence[str] = [f"note    {note}" for note in plan.notes]
    return Group(f"{plan.name}: {len(plan.runs)} runs", table, *lines)


def _cost(prepared: Prepared) -> str:
    """Equal for runs that take the same on this machine."""
    job = prepared.job.model_dump(mode="json", exclude=_OF_NO_COST)
    for key in _WEIGHTS:
        job["objective"][key] = bool(job["objective"][key])
    return json.dumps([job, plan_record(prepared.plan)], sort_keys=True)


def _tera(flop: float) -> str:
    return f"{flop / 1e12:.1f}"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)
