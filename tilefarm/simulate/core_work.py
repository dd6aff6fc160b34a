"""Evaluations of the exact method whose optimizer has its vectors with the workers, as work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tilefarm.exact.core_lbfgs import KEEP_SHARE
from tilefarm.exact.cores import reach
from tilefarm.exact.meetings import in_rows, rehearsed
from tilefarm.plan.build import LevelPlan
from tilefarm.simulate.work import Item, Pass, Stage

PIXEL = 12
"""Bytes: three float32."""
_FRESH = 3
"""Vectors whose products with all others are new in every step: a pair, and the gradient."""


def evaluations(
    level: LevelPlan, machines: Sequence[int], history: int, plain: Sequence[tuple[Pass, Pass]]
) -> list[Stage]:
    """Those of a level: the first, and those of the steps.

    `machines`: their workers. `plain`: the two passes of both kinds of evaluations, as they would be with the
    vectors at the driver.
    """
    first, later = (
        (_sums(level, sums), *_joins(machines, sums), _slopes(level, slopes)) for sums, slopes in plain
    )
    workers = sum(machines)
    known = [min(history, step) for step in range(level.iterations)]
    pairs = sum(known) / max(1, len(known))
    picture = PIXEL * level.grid.tile.pixels
    halos = PIXEL * sum(piece.crop.size.pixels - piece.core.size.pixels for piece in level.pieces)
    crew = min(workers, len(level.pieces))
    collected = _at_each(level, crew, 2 * halos + 3 * picture, halos)
    step = (
        _at_each(level, crew, (2 * pairs + 3) * picture),
        *later,
        collected,
        _at_each(level, crew, 8 * picture),
        _at_each(level, crew, (1 + _FRESH) * (2 * pairs + 3) * picture),
    )
    return [
        Stage("evaluating", (_handed(level), *first, collected, _at_each(level, crew, 4 * picture))),
        Stage(
            "evaluating",
            step,
            repeats=level.iterations,
            kept=4 * picture,
            most_kept=KEEP_SHARE,
            held=round((2 * pairs + 2) * picture),
        ),
    ]


def _sums(level: LevelPlan, plain: Pass) -> Pass:
    """Pass 1: crops are put together of parts that come from neighbours."""

    def item(old: Item) -> Item:
        piece = level.pieces[old.index]
        around = reach(piece, level.grid.tile).size.pixels
        content = old.sent - old.crop_sent
        parts = PIXEL * (around - piece.core.size.pixels)
        forms = tuple(map(item, old.forms))
        return replace(
            old, sent=content, received=0, between=parts, vectors=PIXEL * around, full=None, forms=forms
        )

    return replace(plain, items=tuple(map(item, plain.items)))


def _joins(machines: Sequence[int], plain: Pass) -> Iterator[Pass]:
    """The statistics are added up on their way: a call for each worker that does it, stage after stage."""
    size = plain.items[0].received
    for stage in rehearsed(in_rows(machines, len(plain.items))):
        items = (
            Item(
                number,
                1,
                1,
                0.0,
                0,
                each.made * size if each.meeting.to_driver else 0,
                between=each.brought * size,
                vectors=(each.own + each.brought + each.made) * size,
            )
            for number, each in enumerate(stage)
        )
        yield Pass("core", tuple(items))


def _slopes(level: LevelPlan, plain: Pass) -> Pass:
    """Pass 2: gradients stay where they are."""

    def item(old: Item) -> Item:
        crop = PIXEL * level.pieces[old.index].crop.size.pixels
        sent, forms = old.sent - old.crop_sent, tuple(map(item, old.forms))
        return replace(old, sent=sent, received=0, vectors=crop, full=None, forms=forms)

    return replace(plain, items=tuple(map(item, plain.items)))


def _handed(level: LevelPlan) -> Pass:
    """The starting picture, piece by piece."""
    pixels = [piece.core.size.pixels for piece in level.pieces]
    items = (
        Item(index, count, 1, 0.0, PIXEL * count, 0, vectors=PIXEL * count)
        for index, count in enumerate(pixels)
    )
    return Pass("core", tuple(items), level=f"level {level.index}", hands_out=True)


def _at_each(level: LevelPlan, crew: int, vectors: float, between: float = 0.0) -> Pass:
    """Arithmetic on vectors: a call for each worker, whose share is an equal one."""
    pixels = level.grid.tile.pixels // crew
    items = (
        Item(index, pixels, 1, 0.0, 0, 0, between=round(between / crew), vectors=vectors / crew)
        for index in range(crew)
    )
    return Pass("core", tuple(items))
