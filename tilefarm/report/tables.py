"""The plan and the status of runs as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from tilefarm.forecast import Forecast, KeptPieces
from tilefarm.plan.build import LevelPlan, RenderPlan
from tilefarm.prepare import gib
from tilefarm.report.console import counted, duration


def plan_table(plan: RenderPlan) -> Table:
    """One row per level."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("level", "size", "tiles", "tile", "padding", "rounds", "iterations"):
        table.add_column(name, justify="right")
    for level in plan.levels:
        x, y = level.grid.x, level.grid.y
        padding = f"{x.padding}+{x.padding_after}, {y.padding}+{y.padding_after}"
        table.add_row(
            str(level.index + 1),
            str(level.size),
            _cut(level),
            str(level.pieces[0].core.size) if level.pieces else str(level.grid.tile),
            f"halo {halo(level)}" if level.pieces else padding,
            str(level.rounds),
            str(level.iterations),
        )
    return table


def _cut(level: LevelPlan) -> str:
    if level.pieces:
        return counted(len(level.pieces), "piece")
    x, y = level.grid.x, level.grid.y
    return "whole" if level.grid.is_whole else f"{x.count}x{y.count}={level.grid.tiles}"


def halo(level: LevelPlan) -> int:
    """The halo of an exact level's pieces, in pixels."""
    return max(
        max(piece.crop.right - piece.core.right, piece.crop.bottom - piece.core.bottom)
        for piece in level.pieces
    )


def forecast_lines(expected: Forecast) -> list[str]:
    """Disk, memory, what exact levels keep in it, arithmetic and time."""
    required, count = expected.needs, expected.workers
    crew = "the one worker" if count == 1 else f"each of {count} workers"
    lines = [
        f"disk    {gib(required.disk_bytes)} in the run folder, the output included",
        f"memory  {gib(expected.worker_bytes)} for {crew} (at least {gib(required.worker_bytes)}), "
        f"{gib(required.driver_bytes)} for the driver",
        *(_kept_line(kept) for kept in expected.kept),
        f"work    {required.flop / 1e12:.1f} TFLOP",
    ]
    if expected.shortage is not None:
        lines.append(f"refused {expected.shortage}")
    elif expected.seconds is None:
        lines.append("time    not estimated (--no-calibrate)")
    else:
        seconds = duration(expected.seconds)
        lines.append(f"time    about {seconds} on this machine, from timing one real tile")
    return lines


def _kept_line(kept: KeptPieces) -> str:
    pieces = counted(kept.pieces, "piece")
    text = (
        f"exact   level {kept.level + 1}: of {pieces}, {kept.contents} keep their content's features in "
        f"memory, and {kept.graphs} their graph between the passes"
    )
    if kept.work_factor > 1:
        text += f"; the rest is computed again, {kept.work_factor:.2f} times the work"
    return text


def status_lines(
    root: str,
    record: dict[str, Any] | None,
    locked: bool,
    paused: bool = False,
    how: Mapping[str, str] | None = None,
) -> list[str]:
    """What is known of a run, from its folder alone. `how`: other ways to `resume` or `fetch` it.

    A level of the exact method that is in progress has its `steps_done` in the record.
    """
    if record is None:
        return [f"{root}: not started"]
    status = effective_status(record, locked, paused)
    lines = [f"{root}: {status}, {record['width']}x{record['height']}, {duration(record['seconds'])} of work"]
    if record.get("message") and status != "running":
        lines.append(f"  {record['message']}")
    for number, level in enumerate(record["levels"], start=1):
        losses = ""
        if level["loss_last"] is not None:
            losses = f", loss {level['loss_first']:.4g} -> {level['loss_last']:.4g}"
        lines.append(
            f"  level {number}, {level['width']}x{level['height']}: "
            f"{level['rounds_done']} of {level['rounds']} rounds{losses}"
        )
        if level.get("steps_done") is not None:
            lines[-1] += f", step {level['steps_done']} of {level['iterations']}"
    how = how or {"resume": f"tilefarm resume {root}"}
    if status == "done":
        lines.append(f"  fetch it with: {how['fetch']}" if "fetch" in how else f"  output {record['output']}")
    elif status == "paused":
        lines.append(f"  go on with: tilefarm unpause {root}")
    elif status in ("interrupted", "failed", "cancelled"):
        lines.append(f"  resume with: {how['resume']}")
    return lines


def effective_status(record: dict[str, Any], locked: bool, paused: bool = False) -> str:
    """A run that says running while no process holds its lock was killed; one may be asked to rest."""
    status = str(record["status"])
    if status != "running":
        return status
    if not locked:
        return "interrupted"
    return "paused" if paused else status
