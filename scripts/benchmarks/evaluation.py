"""One evaluation of a whole picture, loss and gradient, against the machine's measured peak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from scripts.benchmarks.context import Bench
from scripts.benchmarks.peak import FLOP, big_convolution
from scripts.benchmarks.report import Record, Row
from scripts.benchmarks.timing import Spread, alternate, rates, ratios
from scripts.benchmarks.workload import cut, flop_per_pixel, local_executor, make_workload, whole
from tilefarm.execute.protocol import Keep
from tilefarm.geometry import Size
from tilefarm.plan.halo import Piece
from tilefarm.solve.contract import Precision

UNTILED, PIECES = "untiled", "pieces"
_PEAK = "peak"


@dataclass(frozen=True)
class Evaluation(Record):
    """One way to evaluate in one precision."""

    way: str
    """untiled: the picture as one piece, forward once and back. pieces: the exact method with no graphs kept
    between the passes, as for most pieces of a large picture: forward twice and back."""
    precision: Precision
    width: int
    height: int
    pieces: int
    crop_pixels: int
    """Of all pieces together, halos included."""
    seconds: Spread
    megapixels_per_second: Spread
    """Of the picture: halos count as overhead."""
    time_over_untiled: Spread
    peak_gflops: Spread
    """Of the machine in this precision: billions of operations per second of a large convolution."""
    share_of_peak: Spread
    """The arithmetic of one untiled forward and backward pass, over what the peak does in that time."""

    def rows(self) -> list[Row]:
        """Speed, share of the peak, and time over untiled."""
        what = f"{self.way}, {self.precision}"
        note = f"{self.width}x{self.height}" + (f", {self.pieces} pieces" if self.pieces > 1 else "")
        rows = [Row(what, self.megapixels_per_second, "MP/s", note)]
        peak = f"of the measured {self.peak_gflops.median:.0f} GFLOP/s"
        rows.append(Row(what, self.share_of_peak, "of peak", peak))
        if self.way != UNTILED:
            rows.append(Row(what, self.time_over_untiled, "x untiled time"))
        return rows


def measure_evaluation(bench: Bench) -> list[Evaluation]:
    """All ways in float32 and, where it is another, in the machine's fast precision."""
    precisions: list[Precision] = ["float32"]
    if bench.machine.fast_precision != "float32":
        precisions.append(bench.machine.fast_precision)
    return [record for precision in precisions for record in _measure(bench, precision)]


def _measure(bench: Bench, precision: Precision) -> list[Evaluation]:
    size, core = bench.scale.picture, bench.scale.core
    workload = make_workload(bench.folder, local_executor(bench), precision, size)
    pieces = cut(size, core)
    ways = {
        UNTILED: (whole(size), Keep(graphs=1, contents=1)),
        PIECES: (pieces, Keep(graphs=0, contents=len(pieces))),
    }
    works: dict[str, Callable[[], object]] = {
        way: partial(workload.evaluator(local_executor(bench), *how), workload.point, workload.gradient)
        for way, how in ways.items()
    }
    works[_PEAK] = big_convolution(precision, bench.machine.threads)
    for work in works.values():  # the first call also computes content features and chooses kernels
        work()
    seconds = alternate(bench.scale.rounds, works)
    return [_record(way, precision, size, cuts, seconds) for way, (cuts, _) in ways.items()]


def _record(
    way: str,
    precision: Precision,
    size: Size,
    pieces: tuple[Piece, ...],
    seconds: dict[str, list[float]],
) -> Evaluation:
    mine, peak = seconds[way], seconds[_PEAK]
    work = size.pixels * flop_per_pixel()
    return Evaluation(
        way=way,
        precision=precision,
        width=size.width,
        height=size.height,
        pieces=len(pieces),
        crop_pixels=sum(piece.crop.size.pixels for piece in pieces),
        seconds=Spread.of(mine),
        megapixels_per_second=rates(size.pixels / 1e6, mine),
        time_over_untiled=ratios(mine, seconds[UNTILED]),
        peak_gflops=rates(FLOP / 1e9, peak),
        share_of_peak=ratios([work / each for each in mine], [FLOP / each for each in peak]),
    )
