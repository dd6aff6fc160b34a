"""Peak resident memory of driver and worker in one exact evaluation, by the picture's size."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from scripts.benchmarks.context import Bench
from scripts.benchmarks.report import Record, Row
from scripts.benchmarks.workload import cut, load_default_weights, make_workload
from tilefarm.execute.process import peak_rss
from tilefarm.execute.protocol import Keep
from tilefarm.geometry import Size
from tilefarm.solve.contract import Precision

CORE = 512
KEEP = Keep(graphs=2, contents=8)
"""The same for all sizes: what a worker keeps is the user's choice and no part of the question."""
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Memory(Record):
    """One size, in a process of its own."""

    width: int
    height: int
    pieces: int
    precision: Precision
    graphs_kept: int
    contents_kept: int
    """Pieces of which the worker keeps the content's features."""
    driver_bytes: int
    """Largest resident size: on Linux VmHWM, with pages of mapped files that are in memory."""
    worker_bytes: int
    """Likewise of the one worker, which has all threads."""

    def rows(self) -> list[Row]:
        """Both processes in GiB."""
        what = f"{self.width}x{self.height}, {self.width * self.height / 1e6:.1f} MP"
        keep = f"{self.pieces} pieces, {self.precision}; keeps {self.graphs_kept} graphs, "
        return [
            Row(what, self.driver_bytes / 2**30, "GiB driver"),
            Row(what, self.worker_bytes / 2**30, "GiB worker", f"{keep}{self.contents_kept} contents"),
        ]


def measure_memory(bench: Bench) -> list[Memory]:
    """Every size in a fresh process. Raises RuntimeError with its last words where one fails."""
    return [_in_fresh_process(bench, size) for size in bench.scale.memory]


def _in_fresh_process(bench: Bench, size: Size) -> Memory:
    arguments = (size.width, size.height, bench.machine.threads, bench.machine.fast_precision)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks.memory", *map(str, arguments)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"measuring memory at {size} failed:\n{done.stderr[-2000:]}")
    driver, worker = json.loads(done.stdout.splitlines()[-1])
    return Memory(
        width=size.width,
        height=size.height,
        pieces=len(cut(size, CORE)),
        precision=bench.machine.fast_precision,
        graphs_kept=KEEP.graphs,
        contents_kept=KEEP.contents,
        driver_bytes=driver,
        worker_bytes=worker,
    )


def evaluate_once(size: Size, threads: int, precision: Precision) -> tuple[int, int]:
    """One evaluation through Ray with one worker; the peaks of this process and of the worker, in bytes."""
    from tilefarm.execute import cluster
    from tilefarm.execute.farm import RayExecutor
    from tilefarm.execute.layout import alike

    cluster.start_local(threads, "cpu")
    try:
        layout = alike(1, threads, 0)
        farm = RayExecutor(cluster.make_worker, load_default_weights(), layout)
        with tempfile.TemporaryDirectory(prefix="tilefarm-bench-") as folder:
            workload = make_workload(Path(folder), farm, precision, size)
            evaluate = workload.evaluator(farm, cut(size, CORE), KEEP)
            evaluate(workload.point, workload.gradient)
        return peak_rss(), farm.peak_rss()[0]
    finally:
        cluster.leave()


if __name__ == "__main__":
    width, height, threads = map(int, sys.argv[1:4])
    print(json.dumps(evaluate_once(Size(width, height), threads, cast(Precision, sys.argv[4]))))
