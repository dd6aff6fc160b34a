"""The commands that look and change no picture."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

import tilefarm
from tilefarm.commands.common import (
    Address,
    Cluster,
    From,
    Json,
    Runs,
    Set,
    note,
    one_of,
    print_json,
    tell,
    told,
)
from tilefarm.errors import JobError, TilefarmError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.rundir.layout import RunDir, is_locked
from tilefarm.rundir.live import live_facts
from tilefarm.rundir.summary import plan_record


def plan(
    job_file: Annotated[Path | None, typer.Argument(help="A job file.", show_default=False)] = None,
    image: From = None,
    overrides: Set = None,
    calibrate: Annotated[
        bool, typer.Option(help="Time one real tile on this machine for the estimate.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Show levels, tiles, padding, disk, memory and time of a job, and do nothing."""
    from tilefarm.forecast import forecast
    from tilefarm.plan.print_notes import sheet_line
    from tilefarm.prepare import prepare
    from tilefarm.report.sweep_plan import sweep_plan, sweep_record, sweep_table
    from tilefarm.report.tables import forecast_lines, plan_table
    from tilefarm.rerender import sweep_from
    from tilefarm.spec.sweep import load_jobs

    one_of(job_file, image)
    with told():
        if job_file is not None:
            sweep = load_jobs(job_file, overrides or ())
        else:
            sweep = sweep_from(cast(Path, image), overrides or (), note)
        if sweep.varied:
            several = sweep_plan(sweep, timed=calibrate)
            if as_json:
                print_json(sweep_record(several))
            else:
                Console(highlight=False, markup=False, emoji=False).print(sweep_table(several))
            return
        prepared = prepare(sweep.jobs[0])
        expected = forecast(prepared, timed=calibrate)
        prints = sheet_line(prepared.job.output, prepared.plan)
        if as_json:
            needs = {key: value for key, value in asdict(expected).items() if key != "plan"}
            about = {"prints": prints, "notes": prepared.notes}
            print_json(plan_record(expected.plan) | needs | about)
            return
        console = Console(highlight=False, markup=False, emoji=False)
        console.print(f"{prepared.job.name}: {prepared.plan.content} -> {prepared.plan.output}")
        console.print(prints, soft_wrap=True)
        console.print(plan_table(expected.plan))
        for line in [*forecast_lines(expected), *(f"note    {note}" for note in prepared.notes)]:
            console.print(line, soft_wrap=True)


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

    with told():
        prepared = prepare(load_job(job_file, overrides or ()))
        job = prepared.job
        weights = load_weights(job.network.name, job.network.weights, job.network.preprocessing)
        executor = open_executor(ExecutorChoice("local"), weights, job.compute.device, 1, 1)
        verdict = verify_job(prepared, executor, choose(prepared, executor.workers, weights), level)
        if as_json:
            print_json(asdict(verdict) | {"holds": verdict.holds})
        else:
            for name, value in asdict(verdict).items():
                typer.echo(f"{name:21} {value:.3g}" if isinstance(value, float) else f"{name:21} {value}")
            typer.echo("exact" if verdict.holds else "NOT exact: an error is above the tolerance")
        if not verdict.holds:
            raise typer.Exit(1)


def status(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders; default: all in ./runs.", show_default=False)
    ] = None,
    cluster: Cluster = None,
    as_json: Json = False,
) -> None:
    """Show how far runs are, from their folders alone; with --cluster jobs there, by their ids."""
    if cluster is not None:
        from tilefarm.commands.remote import show_status

        show_status(cluster, runs or [], as_json)
        return
    from tilefarm.report.tables import effective_status, status_lines
    from tilefarm.standing import standing

    with told():
        folders = runs or sorted(path.parent for path in Path("runs").glob("*/run.json"))
        records: list[dict[str, Any]] = []
        damaged: list[TilefarmError] = []
        for folder in folders:
            run = RunDir(folder)
            if not run.root.is_dir():
                raise JobError(f"there is no run folder {folder}; name one, or look into runs/")
            locked, paused = is_locked(run), run.pause.exists()
            try:
                record = standing(run, printable=not as_json)
            except TilefarmError as error:  # the others are well all the same
                damaged.append(error)
                records.append({"run": str(folder), "status": "damaged", "message": str(error)})
                continue
            if as_json:
                shown = {"run": str(folder), **(record or {"status": "not started"})}
                state = effective_status(shown, locked, paused)
                records.append(shown | {"status": state, "live": live_facts(run) if locked else None})
            else:
                typer.echo("\n".join(status_lines(str(folder), record, locked, paused)))
        if as_json:
            print_json(records)
        elif not folders:
            typer.echo("no runs here; name a run folder, or submit a job")
        for each in damaged:
            tell(each)
        if damaged:
            raise typer.Exit(TilefarmError.exit_code)


def losses(runs: Runs) -> None:
    """Draw how the losses of runs fell, done or under way: losses.png and losses.csv in their folders."""
    from tilefarm.making.losses import write_losses

    with told():
        for folder in runs:
            run = RunDir(folder)
            points = write_losses(run)
            typer.echo(f"wrote {run.losses} and {run.loss_table} ({points} points)")


def doctor(
    address: Address = None,
    layers: Annotated[bool, typer.Option("--layers", help="List the networks' layers instead.")] = False,
    as_json: Json = False,
) -> None:
    """Show what this machine has: versions, devices, weights, Ray, memory, disk; or a cluster's nodes."""
    from tilefarm.doctor.machine import examine
    from tilefarm.report.layers import layer_lines, layer_rows

    if layers:
        if as_json:
            print_json([asdict(row) for row in layer_rows()])
        else:
            typer.echo("\n".join(layer_lines()))
        return
    with told():
        findings = examine(address, Path.cwd())
        if as_json:
            print_json([asdict(finding) for finding in findings])
        else:
            width = max(len(finding.name) for finding in findings)
            for finding in findings:
                mark = "BAD" if not finding.ok else "note" if finding.warning else "ok"
                typer.echo(f"{mark:4}  {finding.name:{width}}  {finding.text}")
        if not all(finding.ok for finding in findings):
            raise typer.Exit(1)


def show_version() -> None:
    """Show the version."""
    typer.echo(tilefarm.__version__)
