"""How long a print-scale job would take: a projection from the section evaluation, not a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.benchmarks.evaluation import EXACT, UNTILED, Evaluation
from scripts.benchmarks.report import Record, Row
from scripts.benchmarks.timing import Spread
from scripts.benchmarks.workload import default_job
from tilefarm.geometry import Size
from tilefarm.plan.build import build_plan
from tilefarm.settings import CORES
from tilefarm.solve.contract import Precision

PRINT = Size(6000, 4500)


@dataclass(frozen=True)
class Projection(Record):
    """The default job by the exact method: every level, with its pieces, halos and borders."""

    width: int
    height: int
    precision: Precision
    levels: int
    whole_megapixels: float
    """Through the network forward and back, at levels that are evaluated as one piece, all steps together."""
    piece_megapixels: float
    """Likewise at levels in pieces; no graphs are counted as kept."""
    hours: Spread
    """Of steps alone: reading, targets and writing are not in it."""

    def rows(self) -> list[Row]:
        """The hours."""
        what = f"PROJECTION {self.width}x{self.height}, {self.precision}"
        note = (
            f"all {self.levels} levels of the default job, method exact, this machine alone; levels in "
            "pieces at the time per crop pixel of the exact step without graphs, others at the untiled step's"
        )
        return [Row(what, self.hours, "hours", note)]


def project(evaluations: Sequence[Evaluation], size: Size = PRINT) -> list[Projection]:
    """The plan's pixels times the seconds per pixel of crops, in the precision of the exact steps.

    With the largest pieces, which `tiles.size: auto` takes where two workers would have room for them.
    """
    precision = next(record.precision for record in evaluations if record.way == EXACT)
    by_way = {record.way: record for record in evaluations if record.precision == precision}
    plan = build_plan(default_job(size), size, [size], CORES[0])
    pieces = sum(level.evaluated_pixels for level in plan.levels if level.pieces)
    whole = sum(level.evaluated_pixels for level in plan.levels if not level.pieces)
    tiled, untiled = by_way[EXACT], by_way[UNTILED]

    def hours(tiled_seconds: float, untiled_seconds: float) -> float:
        seconds = pieces * tiled_seconds / tiled.crop_pixels + whole * untiled_seconds / untiled.crop_pixels
        return seconds / 3600

    projection = Projection(
        width=size.width,
        height=size.height,
        precision=precision,
        levels=len(plan.levels),
        whole_megapixels=whole / 1e6,
        piece_megapixels=pieces / 1e6,
        hours=Spread(
            hours(tiled.seconds.median, untiled.seconds.median),
            hours(tiled.seconds.smallest, untiled.seconds.smallest),
            hours(tiled.seconds.largest, untiled.seconds.largest),
            tiled.seconds.count,
        ),
    )
    return [projection]
