"""How the losses of a run fell: read back from its folder, as a table and as a plot."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass, fields, replace
from statistics import median
from typing import Any

from tilefarm.errors import JobError
from tilefarm.files import replacing, telling_when_full, write_text
from tilefarm.foreign import counted, finite_terms, is_whole_number
from tilefarm.rundir.journal import TileDone, read_journal
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState

TERMS = ("content", "style", "tv")


@dataclass(frozen=True)
class LossPoint:
    """The weighted losses of a level after so many steps."""

    level: int
    """Counted from 1, coarse to fine; likewise in the table."""
    step: int
    """Of the whole level, or on every tile of it, all rounds together."""
    total: float
    """Of a level in tiles the median over the tiles; likewise the terms."""
    content: float | None = None
    """As it stands in the total; None where it is not known; likewise `style` and `tv`."""
    style: float | None = None
    tv: float | None = None
    lowest: float | None = None
    """The range of the total over the tiles; None where there is one."""
    highest: float | None = None


@dataclass(frozen=True)
class LevelLosses:
    """One level's curve."""

    level: int
    width: int
    height: int
    steps: int
    """When the level is done."""
    points: tuple[LossPoint, ...]


def write_losses(run: RunDir) -> int:
    """Write losses.csv and losses.png of a run, done or under way; returns the number of points.

    Raises JobError for a folder that is no run or has no losses yet, ResourceError where the disk is full.
    """
    from tilefarm.making.chart import draw_losses  # Pillow's drawing and its fonts

    levels = read_losses(run)
    count = sum(len(level.points) for level in levels)
    if not count:
        raise JobError(f"{run.root} has no losses yet: no step of it is finished; try again later")
    write_text(run.loss_table, loss_table(levels))
    with telling_when_full(run.losses), replacing(run.losses) as temporary:
        draw_losses(run.name, levels).save(temporary)
    return count


def loss_table(levels: Iterable[LevelLosses]) -> str:
    """All points as CSV: a line of headings, then a line for each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(LossPoint))
    writer.writerows(astuple(point) for level in levels for point in level.points)
    return text.getvalue()


def read_losses(run: RunDir) -> list[LevelLosses]:
    """Every level with what is known of its losses, coarse to fine.

    The journal tells of tiles and of where levels began and ended, events.jsonl of steps and of the terms; it
    may have holes, after a kill or on a full disk. Raises JobError for a folder that is no run.
    """
    try:
        plan = json.loads(run.plan.read_text(encoding="utf-8"))["levels"]
        if not all(is_whole_number(level[key]) for level in plan for key in _OF_PLAN):
            raise ValueError("sizes and steps are whole numbers")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise JobError(
            f"{run.root} is not a run folder with a plan; name one such as runs/NAME-HASH"
        ) from None
    state = RunState.replay(read_journal(run.journal))
    steps, terms = _read_events(run)
    levels = []
    for index, level in enumerate(plan):
        if level["tiles"] > 1:
            points = list(_rounds(index, level, state, terms))
        else:
            points = list(_curve(index, level, state, steps.get(index, {})))
        sizes = (level["width"], level["height"], level["rounds"] * level["iterations"])
        levels.append(LevelLosses(index + 1, *sizes, tuple(points)))
    return levels


_DRAWN = ("total", *TERMS)
_OF_PLAN = ("width", "height", "tiles", "rounds", "iterations")
_Steps = dict[int, dict[int, dict[str, float]]]
"""By level and step the weighted losses."""
_Terms = dict[tuple[int, int], dict[int, dict[str, float]]]
"""By level and round, and by tile, the weighted losses at its end."""


def _read_events(run: RunDir) -> tuple[_Steps, _Terms]:
    """What is told again, by a level that was repeated, replaces what was told before."""
    steps: _Steps = {}
    terms: _Terms = {}
    for record in _events(run):
        with suppress(KeyError, TypeError, ValueError, AttributeError):  # a record of another version
            kind, level = record["event"], record["level"]
            if kind == "StepTaken" and record["accepted"]:
                step = counted(record["iteration"])
                steps.setdefault(level, {})[step] = finite_terms(record["weighted"], _DRAWN)
            elif kind == "LevelSolved":
                steps[level] = {
                    step: finite_terms(losses, _DRAWN)
                    for step, losses in enumerate(record["weighted"], start=1)
                }
            elif kind == "TileFinished":
                losses = finite_terms(record["weighted"], _DRAWN)
                terms.setdefault((level, record["round"]), {})[record["tile"]] = losses
    return steps, terms


def _events(run: RunDir) -> Iterator[dict[str, Any]]:
    """All whole lines; a torn one, where a driver was killed, is passed over."""
    with suppress(FileNotFoundError), run.events.open("rb") as file:
        for line in file:
            with suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict):
                    yield record


def _curve(
    index: int, level: dict[str, Any], state: RunState, steps: dict[int, dict[str, float]]
) -> Iterator[LossPoint]:
    """A level that is one problem: its start and end from the journal, the steps in between from events."""
    done = state.rounds.get((index, 0)) or state.tiles_done(index, 0).get(0)
    if done is not None:
        yield LossPoint(index + 1, 0, done.loss_first)
    for step, losses in sorted(steps.items()):
        yield LossPoint(index + 1, step, losses["total"], *(losses[term] for term in TERMS))
    if done is not None and not steps:
        yield LossPoint(index + 1, level["iterations"], done.loss_last)


def _rounds(index: int, level: dict[str, Any], state: RunState, terms: _Terms) -> Iterator[LossPoint]:
    """A level in tiles: for every round the tiles that are done, where they began and where they ended."""
    for number in range(level["rounds"]):
        tiles = state.tiles_done(index, number)
        if not tiles:
            continue
        begin = number * level["iterations"]
        yield _spread(index, begin, [tile.loss_first for tile in tiles.values()])
        end = _spread(index, begin + level["iterations"], [tile.loss_last for tile in tiles.values()])
        told = terms.get((index, number), {})
        yield _with_terms(end, tiles, told)


def _spread(index: int, step: int, totals: Iterable[float]) -> LossPoint:
    known = list(totals)
    return LossPoint(index + 1, step, median(known), lowest=min(known), highest=max(known))


def _with_terms(point: LossPoint, tiles: dict[int, TileDone], told: dict[int, dict[str, float]]) -> LossPoint:
    if not tiles.keys() <= told.keys():
        return point
    content, style, tv = (median(told[tile][term] for tile in tiles) for term in TERMS)
    return replace(point, content=content, style=style, tv=tv)
