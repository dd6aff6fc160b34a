"""Render one job by all methods and compare the whole picture's objective.

Usage: python -m scripts.compare_methods JOB. Every picture is evaluated afterwards in float32 by the same
yardstick, the objective of the whole finest level. Work is counted in megapixels that went forward and
backward through the network on the levels that the methods paint differently, halos, overlaps and repeated
passes included. Prints a table and writes the pictures side by side.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from tilefarm.driver import render, run_folder
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.open import ExecutorChoice, usable_cores
from tilefarm.execute.protocol import Keep
from tilefarm.execute.worker import TileWorker
from tilefarm.forecast import forecast
from tilefarm.geometry import Size
from tilefarm.image.mirror import write_view
from tilefarm.image.window import open_raw
from tilefarm.plan.halo import partition, receptive_field
from tilefarm.plan.layers import deepest_of
from tilefarm.prepare import prepare
from tilefarm.report.console import ConsoleReport
from tilefarm.rundir.journal import read_journal
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.rundir.summary import read_summary
from tilefarm.settings import solver_settings
from tilefarm.solve.contract import Losses
from tilefarm.solve.weights import load_weights
from tilefarm.spec.load import load_job
from tilefarm.spec.values import USUAL_TILE
from tilefarm.targets import load_targets

METHODS = {
    "feathered, no correction": ("method=feathered", "tiles.drift_correction=false"),
    "feathered": ("method=feathered", "tiles.drift_correction=true"),
    "exact": ("method=exact",),
}
CORE = 512
"""Of the yardstick's pieces, in pixels; its result does not depend on it."""


@dataclass(frozen=True)
class Result:
    """One method's picture."""

    method: str
    run: RunDir
    size: Size
    megapixels: float
    """Work on the levels that are larger than a tile."""
    seconds: float
    """Of those levels."""
    losses: Losses
    """Of the finest level as a whole, in float32."""


def compare(job_file: Path, overrides: Sequence[str], methods: Sequence[str]) -> list[Result]:
    """Render by each method, going on with runs that were interrupted, and evaluate."""
    return [_render(job_file, method, overrides) for method in methods]


def _render(job_file: Path, method: str, overrides: Sequence[str]) -> Result:
    given = load_job(job_file, overrides)
    name = method.replace(", ", "-").replace(" ", "-")
    path = given.output.path.with_name(f"{given.output.path.stem}-{name}{given.output.path.suffix}")
    own = [f"name={given.name}-{name}", f"output.path={path}"]
    job = load_job(job_file, [*overrides, *METHODS[method], *own])
    run = run_folder(job, job_file.absolute().parent / "runs")
    with ConsoleReport(Console(stderr=True)) as report:
        render(job, run, ExecutorChoice(), report)
    started = RunState.replay(read_journal(run.journal)).started
    assert started is not None
    prepared = prepare(job).with_core(started.core)
    factors = {kept.level: kept.work_factor for kept in forecast(prepared, timed=False).kept}
    whole = min(job.tiles.side, USUAL_TILE)  # of the exact method, so that all methods' levels are the same
    cut = [level for level in prepared.plan.levels if max(level.size.width, level.size.height) > whole]
    work = sum(level.evaluated_pixels * factors.get(level.index, 1.0) for level in cut)
    record = read_summary(run) or {}
    seconds = sum(record["levels"][level.index]["seconds"] for level in cut)
    size = prepared.plan.levels[-1].size
    return Result(method, run, size, work / 1e6, seconds, _objective(run))


def _objective(run: RunDir) -> Losses:
    """The whole finest level's loss, in float32."""
    prepared = prepare(load_job(run.job))
    job, level = prepared.job, prepared.plan.levels[-1]
    started = RunState.replay(read_journal(run.journal)).started
    assert started is not None
    settings = solver_settings(job, started.model_copy(update={"precision": "float32"}))
    weights = load_weights(job.network.name, job.network.weights, job.network.preprocessing)
    executor = LocalExecutor(TileWorker(weights, "cpu", usable_cores()))
    pieces = tuple(partition(level.size, CORE, receptive_field(job.network.name, deepest_of(job))))
    with tempfile.TemporaryDirectory(prefix="tilefarm-compare-") as name:
        content = Path(name) / "content.f32"
        write_view(prepared.content, prepared.plan.view, level.size, content)
        picture = WholePicture("yardstick", level.size, pieces, content)
        targets = load_targets(run.targets(level.index), "yardstick")
        evaluate = WholeEvaluator(
            executor, settings, targets, picture, Keep(0, len(pieces)), lambda done, total: None
        )
        evaluate(run.canvas(level.index), Path(name) / "gradient.f32")
        return evaluate.losses


def side_by_side(results: Sequence[Result], path: Path, width: int) -> None:
    """The pictures in a row, each `width` pixels wide, with a white gap."""
    shown = []
    for result in results:
        number = len(read_summary(result.run)["levels"]) - 1  # type: ignore[index]
        pixels = np.clip(np.array(open_raw(result.run.canvas(number), result.size)), 0, 1)
        picture = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
        height = round(width * result.size.height / result.size.width)
        shown.append(picture.resize((width, height), Image.Resampling.LANCZOS))
    gap = 8
    row = Image.new("RGB", (len(shown) * (width + gap) - gap, shown[0].height), "white")
    for number, picture in enumerate(shown):
        row.paste(picture, (number * (width + gap), 0))
    row.save(path, quality=88)


def main() -> None:
    """Parse the command line, render, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--method", action="append", choices=list(METHODS), help="default: all")
    parser.add_argument("--picture", type=Path, help="where to write the pictures side by side")
    parser.add_argument("--width", type=int, default=600, help="of each of these pictures, in pixels")
    arguments = parser.parse_args()
    results = compare(arguments.job, arguments.set, arguments.method or list(METHODS))
    table = Table("method", "objective", "style", "content", "work, MP", "seconds")
    for result in results:
        losses = result.losses
        table.add_row(
            result.method,
            f"{losses.total:.1f}",
            f"{losses.style:.5f}",
            f"{losses.content:.4f}",
            f"{result.megapixels:.0f}",
            f"{result.seconds:.0f}",
        )
    Console().print(table)
    if arguments.picture is not None:
        side_by_side(results, arguments.picture, arguments.width)


if __name__ == "__main__":
    main()
