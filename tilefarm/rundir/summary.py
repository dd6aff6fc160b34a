"""run.json: the outcome of a run for people and scripts, written again whenever it changes."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from threading import Lock
from typing import Any

import tilefarm
from tilefarm.errors import TilefarmError
from tilefarm.files import write_text
from tilefarm.plan.build import LevelPlan, RenderPlan
from tilefarm.rundir.journal import RoundDone
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.rundir.summary_form import can_be_shown
from tilefarm.spec.model import Job

_writing = Lock()
"""The thread that ends a process in a hurry writes it too."""
STATUSES = ("running", "done", "failed", "interrupted", "cancelled")


def summarize(
    job: Job,
    plan: RenderPlan,
    state: RunState,
    status: str,
    driver_rss: int,
    worker_rss: Sequence[int],
    message: str | None = None,
    worker_losses: int = 0,
) -> dict[str, Any]:
    """The record of a run; seconds are those of finished rounds and levels, over all its sessions."""
    levels: list[dict[str, Any]] = []
    for level in plan.levels:
        rounds = [state.rounds[key] for key in sorted(state.rounds) if key[0] == level.index]
        start = state.levels.get(level.index)
        levels.append(
            {
                "width": level.size.width,
                "height": level.size.height,
                "tiles": level.units,
                "rounds": level.rounds,
                "rounds_done": len(rounds),
                "iterations": level.iterations,
                "loss_first": rounds[0].loss_first if rounds else None,
                "loss_last": rounds[-1].loss_last if rounds else None,
                "seconds": round((start.seconds if start else 0) + sum(r.seconds for r in rounds), 3),
                "traffic": _traffic(level, rounds),
            }
        )
    export_seconds = state.exports[-1].seconds if state.exports else 0.0
    return {
        "status": status,
        "message": message,
        "output": str(job.output.path),
        "width": plan.output.width,
        "height": plan.output.height,
        "method": job.method,
        "color": {
            "mode": job.color.mode,
            "when": job.color.moment,
            "working_space": job.color.working_space,
        },
        "network": job.network.name,
        "weights_sha256": state.started.weights_sha256 if state.started else None,
        "precision": state.started.precision if state.started else None,
        "seconds": round(sum(level["seconds"] or 0 for level in levels) + export_seconds, 3),
        "levels": levels,
        "peak_rss_bytes": {"driver": driver_rss, "workers": list(worker_rss)},
        "tile_retries": state.tile_retries,
        "rollbacks": state.rollbacks,
        "numbers_gone_wrong": state.numbers_gone_wrong,
        "worker_losses": worker_losses,
        "versions": {
            "tilefarm": tilefarm.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "ray", "numpy", "pyvips", "tifffile")},
        },
    }


def _traffic(level: LevelPlan, rounds: Sequence[RoundDone]) -> dict[str, float] | None:
    """Bytes between driver and workers in the exact method's evaluations; None without any on record."""
    for line in rounds:
        if line.traffic is not None:
            pixels = level.grid.tile.pixels
            return asdict(line.traffic) | {"bytes_per_pixel": round(line.traffic.per_pixel(pixels), 2)}
    return None


def write_summary(run: RunDir, record: dict[str, Any]) -> None:
    """Replace run.json."""
    with _writing:
        write_text(run.summary, json.dumps(record, indent=2) + "\n")


def read_summary(run: RunDir) -> dict[str, Any] | None:
    """run.json as it stands, None where there is none yet. Raises TilefarmError where it is damaged."""
    try:
        record = json.loads(run.summary.read_text(encoding="utf-8"))
    except OSError:  # there is no such file, or no way to it
        return None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not can_be_shown(record):
        raise TilefarmError(
            f"{run.summary} is damaged or from another version of tilefarm; "
            f"'tilefarm resume {run.root}' writes it anew"
        )
    return record


def worker_losses_so_far(run: RunDir) -> int:
    """How many workers earlier sessions lost, as far as run.json knows: it is for people alone."""
    try:
        count = (read_summary(run) or {}).get("worker_losses", 0)
    except (TilefarmError, OSError):
        return 0
    return count if isinstance(count, int) else 0


def sheet_record(plan: RenderPlan) -> dict[str, Any]:
    """The file and what becomes of it in print: boxes are left, top, right, bottom, in the file's pixels.

    `bleed` is what is cut off on these sides, `picture` where the painted picture lies and `content` where
    the content does, which around it goes on mirrored; `margin` is the sRGB colour of plain paper, 0..1, or
    null.
    """
    sheet, place = plan.sheet, plan.view.place
    left, top = sheet.picture.left, sheet.picture.top
    return {
        "width": sheet.size.width,
        "height": sheet.size.height,
        "trim": [sheet.trim.left, sheet.trim.top, sheet.trim.right, sheet.trim.bottom],
        "bleed": list(sheet.bleed),
        "picture": [left, top, sheet.picture.right, sheet.picture.bottom],
        "content": [left + place.left, top + place.top, left + place.right, top + place.bottom],
        "margin": None if sheet.margin is None else list(sheet.margin),
        "enlarged": round(plan.view.factor, 3),
    }


def seconds_so_far(run: RunDir) -> float:
    """Seconds of work that earlier sessions have finished, as far as run.json knows."""
    try:
        seconds = (read_summary(run) or {}).get("seconds", 0.0)
    except (TilefarmError, OSError):
        return 0.0
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def plan_record(plan: RenderPlan) -> dict[str, Any]:
    """The plan as data: plan.json and `tilefarm plan --json`."""
    return {
        "content": {"width": plan.content.width, "height": plan.content.height},
        "crop": [plan.crop.left, plan.crop.top, plan.crop.right, plan.crop.bottom],
        "output": {"width": plan.output.width, "height": plan.output.height},
        "sheet": sheet_record(plan),
        "tile_solves": plan.tiles,
        "core": plan.core,
        "evaluated_megapixels": round(plan.evaluated_pixels / 1e6, 1),
        "levels": [
            {
                "level": level.index,
                "width": level.size.width,
                "height": level.size.height,
                "whole": level.grid.is_whole and not level.pieces,
                "pieces": len(level.pieces),
                "tiles": level.grid.tiles,
                "columns": level.grid.x.count,
                "rows": level.grid.y.count,
                "tile_width": level.grid.tile.width,
                "tile_height": level.grid.tile.height,
                "padding": {
                    "left": level.grid.x.padding,
                    "right": level.grid.x.padding_after,
                    "top": level.grid.y.padding,
                    "bottom": level.grid.y.padding_after,
                },
                "rounds": level.rounds,
                "iterations": level.iterations,
                "styles": [[style.width, style.height] for style in level.styles],
            }
            for level in plan.levels
        ],
    }
