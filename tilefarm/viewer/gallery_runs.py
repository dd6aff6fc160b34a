"""Which runs a gallery is of: run folders, folders of them, and the runs of a sweep's job file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tilefarm.batch import JOB_ENDINGS
from tilefarm.errors import JobError
from tilefarm.rundir.find import run_folder
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.sweep import load_jobs
from tilefarm.viewer.report_source import is_run

_KEPT = re.compile(r"\.old-\d+$")
"""The end of the name of a run that `--fresh` moved aside."""


@dataclass(frozen=True)
class Chosen:
    """The runs that were asked for, each once."""

    title: str
    runs: tuple[RunDir, ...]
    place: Path
    """Where their gallery goes unless somebody says otherwise."""
    is_single: bool
    """Whether one run was named, which wants a report and no gallery."""
    labels: tuple[str, ...] = ()
    """Of a sweep's keys that vary; else empty, and the gallery finds in which keys the runs differ."""
    values: tuple[tuple[str, ...], ...] = ()
    """Per run, the value of each of these keys."""


def runs_of(paths: Sequence[Path], overrides: Sequence[str] = (), run_dir: Path | None = None) -> Chosen:
    """The runs that these arguments stand for. Raises JobError with every argument that stands for none.

    `overrides` and `run_dir` belong to job files: with which changes they were submitted, and where to.
    """
    if (overrides or run_dir is not None) and not any(_is_job_file(path) for path in paths):
        raise JobError(
            "--set and --run-dir say where a job file's runs are, and no job file was named; remove them"
        )
    found: list[Chosen] = []
    problems: list[str] = []
    for path in paths:
        try:
            found.append(_chosen(path, overrides, run_dir))
        except JobError as error:
            problems += error.problems
    if problems:
        raise JobError(problems)
    if len(found) == 1:
        return found[0]
    runs = {os.path.realpath(run.root): run for one in found for run in one.runs}
    first = found[0]
    place = first.runs[0].root.parent / "gallery"
    return Chosen(f"{len(runs)} runs", tuple(runs.values()), place, is_single=False)


def _chosen(path: Path, overrides: Sequence[str], run_dir: Path | None) -> Chosen:
    if is_run(path):
        run = RunDir(path.absolute())
        return Chosen(run.name, (run,), run.root / "report", is_single=True)
    if path.is_dir():
        runs = tuple(_runs_in(path))
        if not runs:
            raise JobError(
                f"{path} is no run folder and holds none; name a folder such as runs or runs/NAME-HASH"
            )
        name = path.absolute().resolve().name or "runs"
        return Chosen(name, runs, path.absolute() / "gallery", is_single=False)
    if not _is_job_file(path):
        raise JobError(f"{path} is no run folder, no folder of runs and no job file; name one of them")
    return _of_job_file(path, overrides, run_dir)


def _is_job_file(path: Path) -> bool:
    return path.suffix.lower() in JOB_ENDINGS and path.is_file()


def _runs_in(folder: Path) -> Iterator[RunDir]:
    """In order of name; runs that were moved aside are left out."""
    for path in sorted(folder.absolute().iterdir()):
        if not _KEPT.search(path.name) and is_run(path):
            yield RunDir(path)


def _of_job_file(path: Path, overrides: Sequence[str], run_dir: Path | None) -> Chosen:
    sweep = load_jobs(path, overrides, run_dir)
    folder = (run_dir or path.parent / "runs").absolute()
    runs = tuple(run_folder(job, folder) for job in sweep.jobs)
    if not sweep.varied:
        return Chosen(sweep.name, runs, runs[0].root / "report", is_single=True)
    shown = [index for index, key in enumerate(sweep.varied) if len(key.values) > 1]
    return Chosen(
        title=sweep.name,
        runs=runs,
        place=folder / f"{sweep.name}-gallery",
        is_single=False,
        labels=tuple(sweep.varied[index].label for index in shown),
        values=tuple(
            tuple(sweep.varied[index].values[picks[index]] for index in shown) for picks in sweep.picks
        ),
    )
