"""A job on an imagined farm, from the files to what was found."""

from __future__ import annotations

from pathlib import Path

from tilefarm.plan.estimate import evaluation_flop
from tilefarm.plan.layers import deepest_of
from tilefarm.prepare import Prepared
from tilefarm.simulate.crew import crew_of
from tilefarm.simulate.farm_file import load_farm
from tilefarm.simulate.job_work import chosen, work_of
from tilefarm.simulate.report import Simulation
from tilefarm.simulate.run import simulate
from tilefarm.simulate.verdict import changes


def simulate_job(prepared: Prepared, farm_path: Path) -> Simulation:
    """What becomes of a job on the farm that a file describes. Raises JobError where that is wrong."""
    farm, job = load_farm(farm_path), prepared.job
    crew = crew_of(farm, evaluation_flop(job.network.name, deepest_of(job)))
    prepared, started = chosen(prepared, crew.infos)
    levels = work_of(prepared, started, crew.infos)
    run = simulate(levels, crew, farm.driver)
    found = changes(levels, crew, farm.driver, run)
    return Simulation(prepared.plan, started, len(crew.workers), run, found)
