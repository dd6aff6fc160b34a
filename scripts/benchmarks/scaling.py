"""One exact evaluation by one Ray worker, by two, and by one of two threads."""

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

LAYOUTS = {"one worker": (1, 1), "two workers": (2, 1), "two threads": (1, 2)}
"""Workers and threads of each."""


@dataclass(frozen=True)
class Scaling(Record):
    """The same evaluation by one worker, by two, and by one with twice the threads."""

    width: int
    height: int
    pieces: int
    precision: Precision
    one_worker_seconds: Spread
    """Of one thread, like the two workers."""
    two_workers_seconds: Spread
    two_threads_seconds: Spread
    """Of one worker."""
    speedup: Spread
    """One worker's time over two workers'; 2 is the most, and needs two free cores."""
    threads_speedup: Spread
    """One thread's time over two threads'."""

    def rows(self) -> list[Row]:
        """The times and their ratios."""
        note = f"{self.width}x{self.height}, {self.pieces} pieces, {self.precision}"
        return [
            Row("1 worker of 1 thread", self.one_worker_seconds, "s", note),
            Row("2 workers of 1 thread", self.two_workers_seconds, "s", note),
            Row("1 worker of 2 threads", self.two_threads_seconds, "s", note),
            Row("speedup by the second worker", self.speedup, "x"),
            Row("speedup by the second thread", self.threads_speedup, "x"),
        ]


def measure_scaling(bench: Bench) -> list[Scaling]:
    """In the machine's fast precision, no graphs kept: what a large picture does."""
    from tilefarm.execute import cluster
    from tilefarm.execute.farm import RayExecutor
    from tilefarm.execute.layout import alike

    size, precision = bench.scale.picture, bench.machine.fast_precision
    pieces = cut(size, bench.scale.core)
    layouts = {name: alike(*layout, gpus=0) for name, layout in LAYOUTS.items()}
    cluster.start_local(sum(slot.threads for layout in layouts.values() for slot in layout), "cpu")
    try:
        farms = {
            name: RayExecutor(cluster.make_worker, bench.weights, layout) for name, layout in layouts.items()
        }
        workload = make_workload(bench.folder, farms["one worker"], precision, size)
        works: dict[str, Callable[[], object]] = {}
        for name, farm in farms.items():
            evaluate = workload.evaluator(farm, pieces, Keep(graphs=0, contents=len(pieces)))
            works[name] = partial(evaluate, workload.point, workload.gradient)
            evaluate(workload.point, workload.gradient)  # the first time also computes the content's features
        seconds = alternate(bench.scale.rounds, works)
    finally:
        cluster.leave()
    one, two, threads = (seconds[name] for name in LAYOUTS)
    record = Scaling(
        width=size.width,
        height=size.height,
        pieces=len(pieces),
        precision=precision,
        one_worker_seconds=Spread.of(one),
        two_workers_seconds=Spread.of(two),
        two_threads_seconds=Spread.of(threads),
        speedup=ratios(one, two),
        threads_speedup=ratios(one, threads),
    )
    return [record]
