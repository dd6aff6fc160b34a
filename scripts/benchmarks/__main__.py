"""`python -m scripts.benchmarks`: run the sections, print one table, write JSON."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from rich.console import Console

from scripts.benchmarks.block_method import measure_block_method
from scripts.benchmarks.context import FULL, QUICK, Bench, Scale
from scripts.benchmarks.evaluation import Evaluation, measure_evaluation
from scripts.benchmarks.farm import measure_farm
from scripts.benchmarks.files import measure_files
from scripts.benchmarks.machine import this_machine
from scripts.benchmarks.memory import measure_memory
from scripts.benchmarks.projection import project
from scripts.benchmarks.report import Record, Results
from scripts.benchmarks.scaling import measure_scaling
from scripts.benchmarks.workload import load_default_weights

MEASUREMENTS: dict[str, Callable[[Bench], Sequence[Record]]] = {
    "evaluation": measure_evaluation,
    "block_method": measure_block_method,
    "farm": measure_farm,
    "scaling": measure_scaling,
    "memory": measure_memory,
    "files": measure_files,
}
SECTIONS = (*MEASUREMENTS, "projection")
_WIDTH = 150


def run(scale: Scale, names: Collection[str]) -> Results:
    """Run the sections of these names; the projection brings the section evaluation with it."""
    begin = time.monotonic()
    wanted = {*names, "evaluation"} if "projection" in names else set(names)
    sections: dict[str, Sequence[Record]] = {}
    with tempfile.TemporaryDirectory(prefix="tilefarm-bench-") as folder:
        bench = Bench(scale, this_machine(), load_default_weights(), Path(folder))
        for name, measure in MEASUREMENTS.items():
            if name in wanted:
                print(f"measuring {name} ...", file=sys.stderr, flush=True)
                sections[name] = measure(bench)
    if "projection" in wanted:
        sections["projection"] = project(
            [record for record in sections["evaluation"] if isinstance(record, Evaluation)]
        )
    return Results(bench.machine, scale, time.monotonic() - begin, sections)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure tilefarm on this machine.")
    parser.add_argument("--quick", action="store_true", help="small pictures: 3 minutes instead of 30")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="NAME", help=", ".join(SECTIONS))
    options = parser.parse_args(arguments)
    results = run(QUICK if options.quick else FULL, options.only or SECTIONS)
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width of its own
        console = Console(width=_WIDTH)
    console.print(results.table())
    if options.json is not None:
        options.json.write_text(results.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
