"""How a contact sheet shows the runs of a sweep: what is beside what, and under which words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tilefarm.spec.sweep import Varied

MOST_HEADINGS = 24
"""Of a table's rows or columns; larger ones become a grid with captions."""
_MOST_COLUMNS = 12
"""Where they follow the last key."""


@dataclass(frozen=True)
class Ending:
    """What became of one run."""

    name: str
    status: str
    """As in run.json: done, failed, interrupted ..."""
    output: Path | None


@dataclass(frozen=True)
class Cell:
    """One run on the sheet."""

    picture: Path | None
    """None where there is none; then `note` stands in its place."""
    note: str
    captions: tuple[str, ...]
    """Lines under the picture."""


@dataclass(frozen=True)
class Sheet:
    """A contact sheet; cells by rows."""

    title: str
    cells: tuple[Cell, ...]
    columns: int
    column_headings: tuple[str, ...] = ()
    """One per column, or none at all; likewise of the rows."""
    row_headings: tuple[str, ...] = ()


def arranged(
    title: str, endings: Sequence[Ending], varied: Sequence[Varied], picks: Sequence[Sequence[int]]
) -> Sheet:
    """The sheet of a sweep, whose picks and endings go together, or of a folder, which varies nothing.

    Two varied keys make a table with their values as headings. Otherwise captions tell the values that
    differ, and the last key, which varies fastest, makes the rows where that is a sensible width. Keys of one
    value are not shown.
    """
    shown = [index for index, one in enumerate(varied) if len(one.values) > 1]
    if len(shown) == 2 and max(len(varied[index].values) for index in shown) <= MOST_HEADINGS:
        rows, columns = (_headings(varied[index]) for index in shown)
        return Sheet(title, tuple(_cell(one, ()) for one in endings), len(columns), columns, rows)
    if not shown:
        cells = tuple(_cell(one, (one.name,)) for one in endings)
        return Sheet(title, cells, _square(len(cells)))
    captions = [
        tuple(_words(varied[index], varied[index].values[chosen[index]]) for index in shown)
        for chosen in picks
    ]
    cells = tuple(_cell(one, caption) for one, caption in zip(endings, captions, strict=True))
    last = len(varied[shown[-1]].values)
    return Sheet(title, cells, last if len(shown) > 1 and last <= _MOST_COLUMNS else _square(len(cells)))


def _cell(ending: Ending, captions: tuple[str, ...]) -> Cell:
    done = ending.status == "done"
    return Cell(ending.output if done else None, "" if done else ending.status, captions)


def _headings(varied: Varied) -> tuple[str, ...]:
    return tuple(_words(varied, value) for value in varied.values)


def _words(varied: Varied, value: str) -> str:
    return f"{varied.label} = {value}"


def _square(count: int) -> int:
    return math.isqrt(max(0, count - 1)) + 1
