"""The command that plans a farm before there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tilefarm.commands.common import Json, Set, fail, note, print_json, told


def simulate(
    job_file: Annotated[Path, typer.Argument(help="A job file.", show_default=False)],
    farm: Annotated[
        Path | None, typer.Option(help="A farm file: machines, speeds, links.", show_default=False)
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Time this machine, and write its farm file here.", show_default=False),
    ] = None,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Say how long a job would take on a farm that a file describes, and what limits it; start nothing.

    The run's own scheduler hands out the job's real plan to workers in simulated time.
    """
    from tilefarm.prepare import prepare
    from tilefarm.simulate.farm_file import load_farm
    from tilefarm.simulate.job import simulate_job
    from tilefarm.simulate.report import lines, record
    from tilefarm.spec.load import load_job

    if (farm is None) == (calibrate is None):
        fail("give --farm FILE, or --calibrate FILE to write one of this machine; one of the two", 2)
    with told():
        if farm is not None:
            load_farm(farm)  # its mistakes before pictures are decoded
        prepared = prepare(load_job(job_file, overrides or ()))
        path = farm
        if calibrate is not None:
            from tilefarm.simulate.this_machine import write_this_machine

            write_this_machine(calibrate, prepared)
            note(f"wrote {calibrate}")
            path = calibrate
        assert path is not None
        simulation = simulate_job(prepared, path)
        if as_json:
            print_json(record(simulation))
        else:
            typer.echo("\n".join(lines(simulation)))
