"""Optimizer steps of whole pictures: against plain PyTorch, bare convolutions and the machine's peak."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.benchmarks.bare import bare_passes
from scripts.benchmarks.context import Bench
from scripts.benchmarks.peak import FLOP, big_convolution
from scripts.benchmarks.plain import PlainObjective, plain_steps
from scripts.benchmarks.report import Record, Row
from scripts.benchmarks.timing import Spread, alternate, rates, ratios
from scripts.benchmarks.workload import Workload, cut, flop_per_pixel, local_executor, make_workload, whole
from tilefarm.canvas.vectors import FileVectors
from tilefarm.exact.lbfgs import FileLbfgs
from tilefarm.execute.protocol import Keep
from tilefarm.geometry import Size
from tilefarm.image.window import open_raw
from tilefarm.plan.cut import Cut
from tilefarm.plan.halo import Piece
from tilefarm.solve.contract import Precision

PLAIN, UNTILED, BARE = "plain PyTorch step", "untiled step", "bare convolutions"
EXACT_KEPT, EXACT = "exact step, graphs kept", "exact step, no graphs kept"
PLAIN_TARGET, FAST_PLAIN_TARGET = 1.0, 2.5
"""Of the untiled step's speed over plain PyTorch's, in float32 and in a faster precision."""
BARE_TARGET = 0.70
"""Of the untiled step's speed over that of the bare convolutions."""
UNTILED_TARGET = 1.35
"""Of the exact step's time per pixel over the untiled one's, graphs kept."""


@dataclass(frozen=True)
class Way:
    """Something that is timed: it passes once over a picture."""

    name: str
    """One of the names above."""
    precision: Precision
    size: Size
    pieces: tuple[Piece, ...]
    graphs_kept: int
    work: Callable[[], object]

    @property
    def key(self) -> str:
        """Different for every way."""
        return key_of(self.name, self.precision)


@dataclass(frozen=True)
class Evaluation(Record):
    """One way in one precision. All ratios are of times per pixel of the picture: halos are overhead."""

    way: str
    """untiled step: of tilefarm's optimizer, the picture as one piece. exact step: in pieces, with all or
    none of the graphs kept between the two passes. plain PyTorch step: as public tools take it. bare
    convolutions: the untiled step's convolutions alone, forward and back."""
    precision: Precision
    width: int
    height: int
    pieces: int
    graphs_kept: int
    crop_pixels: int
    """Of all pieces together, halos included."""
    seconds: Spread
    megapixels_per_second: Spread
    """Of the picture."""
    speed_over_plain: Spread
    time_over_untiled: Spread
    """Of the untiled step in the same precision."""
    share_of_bare: Spread
    """Of the speed of the bare convolutions in the same precision."""
    peak_gflops: Spread
    """Of the machine in this precision: billions of operations per second of a large convolution."""
    share_of_peak: Spread
    """The arithmetic of one untiled forward and backward pass, over what the peak does in that time."""

    def rows(self) -> list[Row]:
        """Speed and share of the peak, and what the way has a target for."""
        what = f"{self.way}, {self.precision}"
        note = f"{self.width}x{self.height}" + (f", {self.pieces} pieces" if self.pieces > 1 else "")
        peak = f"of the measured {self.peak_gflops.median:.0f} GFLOP/s"
        rows = [
            Row(what, self.megapixels_per_second, "MP/s", note),
            Row(what, self.share_of_peak, "of peak", peak),
        ]
        if self.way == UNTILED:
            target = PLAIN_TARGET if self.precision == "float32" else FAST_PLAIN_TARGET
            note = f"target {target} or more"
            rows.append(Row(what, self.speed_over_plain, "x plain PyTorch's speed", note))
            note = f"target {BARE_TARGET} or more"
            rows.append(Row(what, self.share_of_bare, "of bare convolutions' speed", note))
        if self.way in (EXACT_KEPT, EXACT):
            note = f"target {UNTILED_TARGET} or less" if self.way == EXACT_KEPT else ""
            rows.append(Row(what, self.time_over_untiled, "x untiled time per pixel", note))
        return rows


def measure_evaluation(bench: Bench) -> list[Evaluation]:
    """All ways in one alternation: untiled in float32 and in the fast precision, exact in the latter.

    Steps are the first ones: optimizers remember as many pairs as there were rounds before.
    """
    fast = bench.machine.fast_precision
    precisions: list[Precision] = ["float32"] if fast == "float32" else ["float32", fast]
    ways = [
        _plain(bench),
        *(way for precision in precisions for way in _untiled(bench, precision)),
        *_exact(bench, fast),
    ]
    works = {way.key: way.work for way in ways}
    for precision in precisions:
        works[precision] = big_convolution(precision, bench.machine.threads)
        works[precision]()  # chooses kernels
    return compare(ways, alternate(bench.scale.rounds, works))


def compare(ways: Sequence[Way], seconds: dict[str, list[float]]) -> list[Evaluation]:
    """A record for each way from the seconds of all, by key, and of the peaks, by precision."""
    per_pixel = {way.key: [each / way.size.pixels for each in seconds[way.key]] for way in ways}
    records = []
    for way in ways:
        mine, peak, precision = per_pixel[way.key], seconds[way.precision], way.precision
        record = Evaluation(
            way=way.name,
            precision=precision,
            width=way.size.width,
            height=way.size.height,
            pieces=len(way.pieces),
            graphs_kept=way.graphs_kept,
            crop_pixels=sum(piece.crop.size.pixels for piece in way.pieces),
            seconds=Spread.of(seconds[way.key]),
            megapixels_per_second=rates(1e-6, mine),
            speed_over_plain=ratios(per_pixel[key_of(PLAIN, "float32")], mine),
            time_over_untiled=ratios(mine, per_pixel[key_of(UNTILED, precision)]),
            share_of_bare=ratios(per_pixel[key_of(BARE, precision)], mine),
            peak_gflops=rates(FLOP / 1e9, peak),
            share_of_peak=ratios([flop_per_pixel() / each for each in mine], [FLOP / each for each in peak]),
        )
        records.append(record)
    return records


def key_of(name: str, precision: Precision) -> str:
    """Of a way's seconds."""
    return f"{name}, {precision}"


def _plain(bench: Bench) -> Way:
    size = bench.scale.untiled
    workload = make_workload(bench.folder, local_executor(bench), "float32", size)
    point, content = (np.array(open_raw(path, size)) for path in (workload.point, workload.content))
    objective = PlainObjective(workload.settings, bench.weights, workload.targets, content)
    step = plain_steps(objective.loss, point, workload.settings.history, bench.machine.threads)
    step()  # evaluates the start, as tilefarm's optimizer does before its first step
    return Way(PLAIN, "float32", size, whole(size), 1, step)


def _untiled(bench: Bench, precision: Precision) -> list[Way]:
    """The step, and its convolutions alone."""
    size = bench.scale.untiled
    workload = make_workload(bench.folder, local_executor(bench), precision, size)
    convolve = bare_passes(precision, size, bench.machine.threads)
    convolve()  # chooses kernels
    return [
        _step(bench, UNTILED, workload, whole(size), graphs=1),
        Way(BARE, precision, size, whole(size), 1, convolve),
    ]


def _exact(bench: Bench, precision: Precision) -> list[Way]:
    size = bench.scale.exact
    workload = make_workload(bench.folder, local_executor(bench), precision, size)
    pieces = cut(size, bench.scale.exact_core)
    return [
        _step(bench, EXACT_KEPT, workload, pieces, graphs=len(pieces)),
        _step(bench, EXACT, workload, pieces, graphs=0),
    ]


def _step(bench: Bench, name: str, workload: Workload, pieces: tuple[Piece, ...], graphs: int) -> Way:
    """Steps of tilefarm's optimizer, one after the other. The start is evaluated here."""
    settings, size = workload.settings, workload.size
    evaluate = workload.evaluator(local_executor(bench), pieces, Keep(graphs, contents=len(pieces)))
    folder = bench.folder / key_of(name, settings.precision)
    optimizer = FileLbfgs(folder, FileVectors(Cut.of(size)), settings.history, evaluate)

    def write_point(path: Path) -> None:
        shutil.copyfile(workload.point, path)

    def step() -> None:
        if not optimizer.step():
            raise RuntimeError(f"the optimizer of the {name} at {size} has no step left to be timed")

    optimizer.start(write_point)
    return Way(name, settings.precision, size, pieces, graphs, step)
