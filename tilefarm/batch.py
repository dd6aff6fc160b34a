"""What one argument of `submit` stands for: a job, the runs of a matrix, or all jobs of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tilefarm.errors import JobError, TilefarmError
from tilefarm.prepare import Prepared, prepare, readable
from tilefarm.rundir.find import load_run, run_folder
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.files import input_files, written_files
from tilefarm.spec.model import Job
from tilefarm.spec.sweep import Sweep, Varied, load_jobs

JOB_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Entry:
    """One run to do."""

    source: Path
    """The job file or run folder that it comes from, as it was given."""
    job: Job
    run: RunDir


@dataclass(frozen=True)
class Refusal:
    """A job file that is wrong."""

    source: Path
    error: TilefarmError


@dataclass(frozen=True)
class Group:
    """Runs that belong together, in their order."""

    source: Path
    name: str
    entries: tuple[Entry | Refusal, ...]
    sheet: Path | None = None
    """Where the contact sheet goes; None for a single job, which has none."""
    cache: Path | None = None
    """Where they share measured statistics; None for a single job."""
    varied: tuple[Varied, ...] = ()
    picks: tuple[tuple[int, ...], ...] = ()
    """As in `Sweep`; both empty for a folder."""

    @property
    def jobs(self) -> list[Job]:
        """Of the runs that are to be done."""
        return [job for job, _ in self.runs]

    @property
    def runs(self) -> list[tuple[Job, RunDir]]:
        """The jobs that are to be done, and where."""
        return [(entry.job, entry.run) for entry in self.entries if isinstance(entry, Entry)]


def load_group(path: Path, overrides: Sequence[str] = (), run_dir: Path | None = None) -> Group:
    """The runs of a job file or of a folder of job files; run folders are in `run_dir`, or beside the files.

    A file with a matrix or patterns has every input looked at and every run planned. Raises JobError, for
    a file with all of its mistakes; those of files in a folder, whose inputs are looked at too, are refusals.
    """
    if path.is_dir():
        return _folder(path, overrides, run_dir)
    sweep = load_jobs(path, overrides, run_dir)
    runs = (run_dir or path.parent / "runs").absolute()
    entries = tuple(Entry(path, job, run_folder(job, runs)) for job in sweep.jobs)
    if not sweep.varied:
        return Group(path, sweep.name, entries)
    prepared_sweep(sweep)
    sheet = runs / f"{sweep.name}-sheet.png"
    return Group(path, sweep.name, entries, sheet, runs / ".cache", sweep.varied, sweep.picks)


def load_resumed(path: Path) -> Group:
    """The run of a run folder. Raises JobError where it cannot go on."""
    job, run = load_run(RunDir(path.absolute()))
    return Group(path, job.name, (Entry(path, job, run),))


def prepared_sweep(sweep: Sweep) -> list[Prepared]:
    """All runs, prepared; a picture that several have is decoded once. Raises JobError, each problem once."""
    look = cache(readable)
    problems: list[str] = []
    ready = []
    for job in sweep.jobs:
        try:
            ready.append(prepare(job, look))
        except JobError as error:
            problems += error.problems
    if problems:
        raise JobError(list(dict.fromkeys(problems)))
    return ready


def job_files(folder: Path) -> list[Path]:
    """The job files directly in a folder, in order of name. Raises JobError where there are none."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in JOB_ENDINGS and path.is_file())
    if not found:
        raise JobError(f"{folder} holds no job file; job files end in {' or '.join(JOB_ENDINGS)}")
    return found


def _folder(path: Path, overrides: Sequence[str], run_dir: Path | None) -> Group:
    entries = tuple(_checked(tuple(_entries(path, overrides, run_dir))))
    runs = (run_dir or path / "runs").absolute()
    name = path.absolute().resolve().name or "jobs"
    return Group(path, name, entries, runs / f"{name}-sheet.png", runs / ".cache")


def _entries(path: Path, overrides: Sequence[str], run_dir: Path | None) -> Iterator[Entry | Refusal]:
    for file in job_files(path):
        try:
            group = load_group(file, overrides, run_dir)
            if not group.varied:  # else it was looked at already
                prepare(group.jobs[0])
        except JobError as error:
            yield Refusal(file, error)
        else:
            yield from group.entries


def _checked(entries: Sequence[Entry | Refusal]) -> Iterator[Entry | Refusal]:
    """A job file of a folder must not write what another one writes or reads: it is refused."""
    jobs = [entry for entry in entries if isinstance(entry, Entry)]
    readers = {os.path.realpath(one): entry.source for entry in jobs for _, one in input_files(entry.job)}
    writers: dict[str, Path] = {}
    for entry in entries:
        if isinstance(entry, Entry):
            for key, target in written_files(entry.job):
                place, why = os.path.realpath(target), ""
                if (first := writers.setdefault(place, entry.source)) != entry.source:
                    why = f"as {first} does"
                elif (reader := readers.get(place, entry.source)) != entry.source:
                    why = f"which {reader} reads"
                if why:
                    text = f"{entry.source}: writes {target}, {why}; change its {key}"
                    entry = Refusal(entry.source, JobError(text))
                    break
        yield entry
