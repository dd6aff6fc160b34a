"""One exact evaluation by one Ray worker against two, each with one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from scripts.benchmarks.context import Bench
from scripts.benchmarks.report import Record, Row
from scripts.benchmarks.timing import Spread, alternate, ratios
from scripts.benchmarks.workload import cut, make_workload
from tilefarm.execute.protocol import Keep
from tilefarm.solve.contract import Precision

WORKERS = (1, 2)


@dataclass(frozen=True)
class Scaling(Record):
    """The same evaluation by one worker and by two."""

    width: int
    height: int
    pieces: int
    precision: Precision
    one_worker_seconds: Spread
    two_workers_seconds: Spread
    speedup: Spread
    """One worker's time over two workers'; 2 is the most, and needs two free cores."""

    def rows(self) -> list[Row]:
        """Both times and their ratio."""
        note = f"{self.width}x{self.height}, {self.pieces} pieces, {self.precision}"
        return [
            Row("1 worker of 1 thread", self.one_worker_seconds, "s", note),
            Row("2 workers of 1 thread", self.two_workers_seconds, "s", note),
            Row("speedup", self.speedup, "x"),
        ]


def measure_scaling(bench: Bench) -> list[Scaling]:
    """In the machine's fast precision, no graphs kept: what a large picture does."""
    from tilefarm.execute import cluster
    from tilefarm.execute.farm import RayExecutor

    size, precision = bench.scale.picture, bench.machine.fast_precision
    pieces = cut(size, bench.scale.core)
    cluster.start_local(sum(WORKERS), "cpu")
    try:
        farms = [
            RayExecutor(cluster.make_worker, bench.weights, cluster.Layout(count, 1, 0)) for count in WORKERS
        ]
        workload = make_workload(bench.folder, farms[0], precision, size)
        works: dict[str, Callable[[], object]] = {}
        for count, farm in zip(WORKERS, farms, strict=True):
            evaluate = workload.evaluator(farm, pieces, Keep(graphs=0, contents=len(pieces)))
            works[str(count)] = partial(evaluate, workload.point, workload.gradient)
            evaluate(workload.point, workload.gradient)  # the first time also computes the content's features
        seconds = alternate(bench.scale.rounds, works)
    finally:
        cluster.leave()
    one, two = (seconds[str(count)] for count in WORKERS)
    record = Scaling(
        width=size.width,
        height=size.height,
        pieces=len(pieces),
        precision=precision,
        one_worker_seconds=Spread.of(one),
        two_workers_seconds=Spread.of(two),
        speedup=ratios(one, two),
    )
    return [record]
