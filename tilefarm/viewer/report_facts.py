"""What a run's records say, as rows for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tilefarm.prepare import gib
from tilefarm.report.console import counted, duration
from tilefarm.rundir.layout import RunDir
from tilefarm.viewer.report_source import RunSource

Row = tuple[str, str]
"""What it is, and its value."""
_CM_PER_INCH = 2.54
_CHANGES = {
    "lost": "Workers whose process ended",
    "hung": "Workers that were silent for too long and were ended",
    "back": "Workers that came back",
    "set aside": "Workers set aside after too many failures",
    "fewer": "Times that fewer workers went on, for want of memory",
    "gone": "Workers that did not come back",
    "joined": "Workers that joined while it ran",
    "refused": "Workers that could not join",
}
_COUNTED = {
    "tile_retries": "Tiles done again after a failure",
    "rollbacks": "Steps taken back, for a bad loss or gradient",
    "numbers_gone_wrong": "Results thrown away, with numbers that were not finite",
    "worker_losses": "Workers lost",
}


@dataclass(frozen=True)
class Happenings:
    """What events.jsonl tells of a run as a whole."""

    sessions: tuple[float, ...]
    """When work began, seconds since 1970: the first time, and whenever the run went on."""
    changes: Counter[str]
    """How often workers were lost, came back ..."""
    workers: int
    """Of the last session."""
    notes: tuple[str, ...]
    """Sentences that the user was told, each once."""


def happenings(run: RunDir) -> Happenings:
    """Read events.jsonl, which may have holes or be missing."""
    sessions: list[float] = []
    changes: Counter[str] = Counter()
    notes: dict[str, None] = {}
    workers = 0
    with suppress(OSError), run.events.open("rb") as file:
        for line in file:
            if not line.startswith((b'{"event":"RunStarted"', b'{"event":"WorkerC', b'{"event":"Noted"')):
                continue
            with suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
                record = json.loads(line)
                if record["event"] == "RunStarted":
                    workers = len(record["workers"])
                    sessions.append(_moment(record["time"]))
                    notes.update(dict.fromkeys(map(str, record.get("notes", ()))))
                elif record["event"] == "WorkerChanged":
                    changes[str(record["change"])] += 1
                else:
                    notes[str(record["note"])] = None
    return Happenings(tuple(sessions), changes, workers, tuple(notes))


def _moment(time: Any) -> float:
    """Seconds since 1970; raises ValueError and OverflowError for what no calendar has."""
    datetime.fromtimestamp(float(time)).astimezone()
    return float(time)


def fault_rows(summary: dict[str, Any], told: Happenings) -> list[Row]:
    """What went wrong and was mended; what never happened is left out, but for the usual counts."""
    rows = [(label, str(summary.get(key, 0))) for key, label in _COUNTED.items()]
    rows.append(("Times the run was interrupted and went on", str(max(0, len(told.sessions) - 1))))
    return rows + [(label, str(told.changes[key])) for key, label in _CHANGES.items() if told.changes[key]]


def overview(source: RunSource, told: Happenings) -> list[Row]:
    """The run in a few lines."""
    summary, job, plan = source.summary, source.job, source.prepared.plan
    rows = [
        ("Status", source.status),
        ("Size", f"{plan.output} pixels, {plan.output.pixels / 1e6:.1f} megapixels"),
        ("File", str(summary["output"])),
        ("Method", f"{job.method}, {job.optimizer.name}, {counted(len(plan.levels), 'level')}"),
        ("Network", f"{job.network.name}, {summary.get('precision') or 'no precision chosen yet'}"),
        ("Time", f"{duration(summary['seconds'])} of work"),
    ]
    if told.sessions:
        begun = datetime.fromtimestamp(told.sessions[0]).astimezone()
        rows.append(("Begun", begun.strftime("%Y-%m-%d %H:%M %Z")))
    if told.workers:
        rows.append(("Workers", str(told.workers)))
    return rows


def memory_rows(summary: dict[str, Any]) -> list[Row]:
    """The peaks of memory of driver and workers, as far as run.json knows them."""
    peaks = summary.get("peak_rss_bytes") or {}
    workers = list(peaks.get("workers") or ())
    rows = [("Driver", gib(peaks["driver"]))] if peaks.get("driver") else []
    if len(workers) > 4:
        low, high = gib(min(workers)), gib(max(workers))
        return [*rows, (f"{len(workers)} workers", f"{low} to {high}")]
    return rows + [(f"Worker {number}", gib(peak)) for number, peak in enumerate(workers, start=1)]


def print_rows(source: RunSource) -> list[Row]:
    """The size on paper; where the job asks for a print, what it asks for."""
    job, size = source.job, source.prepared.plan.output
    dpi = job.output.dpi
    width, height = (side / dpi * _CM_PER_INCH for side in (size.width, size.height))
    rows = [("The file at its resolution", f"{width:.1f} x {height:.1f} cm at {dpi:g} dpi")]
    sheet = source.prepared.plan.sheet
    if any(sheet.bleed):
        cut = " x ".join(f"{side / dpi * _CM_PER_INCH:.1f}" for side in (sheet.trim.width, sheet.trim.height))
        rows.append(("When it has been cut", f"{cut} cm"))
    if sheet.margin is not None:
        rows.append(("Around the picture", "plain paper, which the views above leave out"))
    asked = job.output.model_dump(mode="json").get("print") or {}
    return rows + [(key.replace("_", " ").capitalize(), str(value)) for key, value in asked.items() if value]


def level_rows(source: RunSource) -> Iterator[tuple[str, ...]]:
    """Per level, coarse to fine: number, size, tiles, steps, first and last loss, time."""
    for number, (level, record) in enumerate(
        zip(source.levels, source.summary["levels"], strict=False), start=1
    ):
        rounds = f"{level.rounds} x " if level.rounds > 1 else ""
        first, last = record.get("loss_first"), record.get("loss_last")
        yield (
            str(number),
            str(level.size),
            str(level.units),
            f"{rounds}{level.iterations}",
            "" if first is None else f"{first:.4g}",
            "" if last is None else f"{last:.4g}",
            duration(record.get("seconds") or 0),
        )
