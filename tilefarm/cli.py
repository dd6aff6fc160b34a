"""The commands. Each is a few lines over the modules that do the work."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

import tilefarm
from tilefarm.errors import JobError, StoppedError, TilefarmError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.rundir.layout import RunDir, is_locked
from tilefarm.rundir.summary import plan_record, read_summary

if TYPE_CHECKING:
    from tilefarm.batch import Group
    from tilefarm.submission import Load

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Renders photographs in the style of paintings, at print size.",
)


class ExecutorKind(str, Enum):
    """Where tiles are solved."""

    ray = "ray"
    local = "local"


Jobs = Annotated[list[Path], typer.Argument(help="Job files, or folders of them.", show_default=False)]
Runs = Annotated[list[Path], typer.Argument(help="Run folders.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the job, for example tiles.size=256."),
]
RunDirOption = Annotated[
    Path | None,
    typer.Option("--run-dir", help="Where run folders are kept; default: 'runs' beside the job file."),
]
Address = Annotated[
    str | None, typer.Option(help="A running Ray cluster, HOST:PORT or auto; default: this machine alone.")
]
ExecutorOption = Annotated[ExecutorKind, typer.Option("--executor", help="ray, or local: without Ray.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on standard output.")]


@app.command()
def submit(
    jobs: Jobs,
    overrides: Set = None,
    run_dir: RunDirOption = None,
    address: Address = None,
    executor: ExecutorOption = ExecutorKind.ray,
    as_json: Json = False,
) -> None:
    """Render jobs, sweeps and folders of jobs, one after the other. The same again goes on where it was."""

    from tilefarm.batch import load_group

    def load(path: Path) -> Group:
        return load_group(path, overrides or (), run_dir)

    _render_all(jobs, load, _choice(executor, address), as_json)


@app.command()
def resume(
    runs: Runs,
    address: Address = None,
    executor: ExecutorOption = ExecutorKind.ray,
    as_json: Json = False,
) -> None:
    """Go on with interrupted runs."""
    from tilefarm.batch import load_resumed

    _render_all(runs, load_resumed, _choice(executor, address), as_json)


@app.command()
def plan(
    job_file: Annotated[Path, typer.Argument(help="A job file.", show_default=False)],
    overrides: Set = None,
    calibrate: Annotated[
        bool, typer.Option(help="Time one real tile on this machine for the estimate.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Show levels, tiles, padding, disk, memory and time of a job, and do nothing."""
    from tilefarm.forecast import forecast
    from tilefarm.prepare import prepare
    from tilefarm.report.sweep_plan import sweep_plan, sweep_record, sweep_table
    from tilefarm.report.tables import forecast_lines, plan_table
    from tilefarm.spec.sweep import load_jobs

    with _told():
        sweep = load_jobs(job_file, overrides or ())
        if sweep.varied:
            several = sweep_plan(sweep, timed=calibrate)
            if as_json:
                _print_json(sweep_record(several))
            else:
                Console(highlight=False, markup=False, emoji=False).print(sweep_table(several))
            return
        prepared = prepare(sweep.jobs[0])
        expected = forecast(prepared, timed=calibrate)
        if as_json:
            needs = {key: value for key, value in asdict(expected).items() if key != "plan"}
            _print_json(plan_record(expected.plan) | needs | {"notes": prepared.notes})
            return
        console = Console(highlight=False, markup=False, emoji=False)
        console.print(f"{prepared.job.name}: {prepared.plan.content} -> {prepared.plan.output}")
        console.print(plan_table(expected.plan))
        for line in [*forecast_lines(expected), *(f"note    {note}" for note in prepared.notes)]:
            console.print(line, soft_wrap=True)


@app.command()
def verify(
    job_file: Annotated[Path, typer.Argument(help="A job file.", show_default=False)],
    level: Annotated[int | None, typer.Option(help="1 is the coarsest; default: the finest.")] = None,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Prove on this machine that the exact method's pieces add up to the untiled gradient."""
    from tilefarm.exact.verify import verify_job
    from tilefarm.execute.open import open_executor
    from tilefarm.prepare import prepare
    from tilefarm.settings import choose
    from tilefarm.solve.weights import load_weights
    from tilefarm.spec.load import load_job

    with _told():
        prepared = prepare(load_job(job_file, overrides or ()))
        job = prepared.job
        weights = load_weights(job.network.name, job.network.weights, job.network.preprocessing)
        executor = open_executor(ExecutorChoice("local"), weights, job.compute.device, 1, 1)
        verdict = verify_job(prepared, executor, choose(prepared, executor.workers, weights), level)
        if as_json:
            _print_json(asdict(verdict) | {"holds": verdict.holds})
        else:
            for name, value in asdict(verdict).items():
                typer.echo(f"{name:21} {value:.3g}" if isinstance(value, float) else f"{name:21} {value}")
            typer.echo("exact" if verdict.holds else "NOT exact: an error is above the tolerance")
        if not verdict.holds:
            raise typer.Exit(1)


@app.command()
def recolor(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|IMAGE", help="A finished run, or a picture.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="The picture to write.", show_default=False)],
    mode: Annotated[
        str | None, typer.Option(help="One of color's modes; default: that of the run's job.")
    ] = None,
    content: Annotated[
        Path | None, typer.Option(help="Whose colours to take; default: the content of the run's job.")
    ] = None,
    dpi: Annotated[float | None, typer.Option(help="Default: that of the run's job, else 300.")] = None,
    bit_depth: Annotated[int | None, typer.Option(help="8 or 16; default: 16 for TIFF, else 8.")] = None,
) -> None:
    """Give a finished run or a picture other colours, without rendering it again."""
    from tilefarm.recolor import Request
    from tilefarm.recolor import recolor as write_recolored
    from tilefarm.signals import stopping_on_signals

    with _told(), stopping_on_signals():
        path = write_recolored(Request(source, output, mode, content, dpi, bit_depth))
        typer.echo(f"wrote {path}")


@app.command()
def status(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders; default: all in ./runs.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how far runs are, from their folders alone."""
    from tilefarm.exact.optimizer import steps_committed
    from tilefarm.report.tables import effective_status, status_lines

    with _told():
        folders = runs or sorted(path.parent for path in Path("runs").glob("*/run.json"))
        records = []
        for folder in folders:
            run = RunDir(folder)
            if not run.root.is_dir():
                raise JobError(f"there is no run folder {folder}; name one, or look into runs/")
            record, locked = read_summary(run), is_locked(run)
            for number, level in enumerate(record["levels"] if record else []):
                level["steps_done"] = steps_committed(run.optimizer(number))
            if as_json:
                shown = {"run": str(folder), **(record or {"status": "not started"})}
                records.append(shown | {"status": effective_status(shown, locked)})
            else:
                typer.echo("\n".join(status_lines(str(folder), record, locked)))
        if as_json:
            _print_json(records)
        elif not folders:
            typer.echo("no runs here; name a run folder, or submit a job")


@app.command()
def losses(runs: Runs) -> None:
    """Draw how the losses of runs fell, done or under way: losses.png and losses.csv in their folders."""
    from tilefarm.making.losses import write_losses

    with _told():
        for folder in runs:
            run = RunDir(folder)
            points = write_losses(run)
            typer.echo(f"wrote {run.losses} and {run.loss_table} ({points} points)")


@app.command()
def collage(
    runs: Runs,
    output: Annotated[
        Path | None, typer.Option(help="A .png, .jpg or .tif file; default: RUN-collage.png beside the run.")
    ] = None,
    height: Annotated[int, typer.Option(help="Of every picture, in pixels.", min=16, max=20_000)] = 800,
) -> None:
    """Put content, styles and result of finished runs side by side into one picture."""
    from tilefarm.report.collage import write_collage

    with _told():
        typer.echo(f"wrote {write_collage([RunDir(run.absolute()) for run in runs], output, height)}")


@app.command()
def init(
    content: Annotated[Path, typer.Argument(help="The photograph.", show_default=False)],
    style: Annotated[Path, typer.Argument(help="The painting.", show_default=False)],
    job_file: Annotated[Path, typer.Option("--job", help="The job file to write.")] = Path("job.yaml"),
    output: Annotated[Path | None, typer.Option(help="The picture to make; default: NAME-STYLE.tif.")] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing job file.")] = False,
) -> None:
    """Write a commented starter job for two pictures."""
    from tilefarm.files import write_text
    from tilefarm.image.decode import inspect
    from tilefarm.spec.starter import starter_job

    with _told():
        inspect(content, "content")
        inspect(style, "style")
        if job_file.exists() and not force:
            raise JobError(f"{job_file} exists already; choose another --job, or replace it with --force")
        folder = job_file.absolute().parent
        target = output or folder / f"{content.stem}-{style.stem}.tif"
        folder.mkdir(parents=True, exist_ok=True)
        write_text(job_file, starter_job(content.absolute(), style.absolute(), target.absolute(), folder))
        typer.echo(f"wrote {job_file}; look it over, then: tilefarm submit {job_file}")


@app.command()
def doctor(
    address: Address = None,
    layers: Annotated[bool, typer.Option("--layers", help="List the networks' layers instead.")] = False,
    as_json: Json = False,
) -> None:
    """Show what this machine has: versions, devices, weights, Ray, memory and disk."""
    from tilefarm.doctor import examine
    from tilefarm.report.layers import layer_lines, layer_rows

    if layers:
        if as_json:
            _print_json([asdict(row) for row in layer_rows()])
        else:
            typer.echo("\n".join(layer_lines()))
        return
    with _told():
        findings = examine(address, Path.cwd())
        if as_json:
            _print_json([asdict(finding) for finding in findings])
        else:
            width = max(len(finding.name) for finding in findings)
            for finding in findings:
                typer.echo(f"{'ok ' if finding.ok else 'BAD'}  {finding.name:{width}}  {finding.text}")
        if not all(finding.ok for finding in findings):
            raise typer.Exit(1)


@app.command("version")
def show_version() -> None:
    """Show the version."""
    typer.echo(tilefarm.__version__)


def main() -> None:
    """The program's entry."""
    app()


def _choice(executor: ExecutorKind, address: str | None) -> ExecutorChoice:
    if executor is ExecutorKind.local and address is not None:
        _fail("--address names a Ray cluster and --executor local uses none; leave one of them out", 2)
    return ExecutorChoice(executor.value, address)


def _render_all(paths: list[Path], load: Load, choice: ExecutorChoice, as_json: bool) -> None:
    from tilefarm.submission import render_all

    records, code = render_all(paths, load, choice, _tell)
    if as_json:
        _print_json(records)
    if code:
        raise typer.Exit(code)


@contextmanager
def _told() -> Iterator[None]:
    """A user's mistake becomes its sentences and its exit code."""
    try:
        yield
    except TilefarmError as error:
        _tell(error)
        raise typer.Exit(error.exit_code) from None


def _tell(error: TilefarmError) -> None:
    problems = error.problems if isinstance(error, JobError) else (str(error),)
    prefix = "" if isinstance(error, StoppedError) else "error: "
    for problem in problems:
        typer.echo(f"{prefix}{problem}", err=True)


def _fail(sentence: str, code: int) -> None:
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(code)


def _print_json(record: Any) -> None:
    sys.stdout.write(json.dumps(record, indent=2) + "\n")
