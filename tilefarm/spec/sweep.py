"""A job file into its runs: one, or the product of what its `matrix` and its patterns vary."""

from __future__ import annotations

import copy
import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tilefarm.errors import JobError
from tilefarm.spec.destination import with_name_ending
from tilefarm.spec.files import input_files, written_files
from tilefarm.spec.globs import would_match
from tilefarm.spec.load import checked_job, default_name, read_document
from tilefarm.spec.making import ANIMATION_FORMATS
from tilefarm.spec.matrix import MOST_RUNS, Axis, choose, in_matrix, read_axes
from tilefarm.spec.model import Job
from tilefarm.spec.overrides import Override, apply
from tilefarm.spec.paths import OUTPUT_FORMATS, found_path
from tilefarm.spec.run_names import MOST_OF_NAME, hashed, labels, tail, value_caption
from tilefarm.spec.values import is_name
from tilefarm.spec.yaml_source import Document, check_name

PLACEHOLDER = "{name}"


@dataclass(frozen=True)
class Varied:
    """A key that a sweep varies, as it is shown to people."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """The runs of one job file, the last key varying fastest."""

    name: str
    """Of the file's job, before values were added."""
    jobs: tuple[Job, ...]
    varied: tuple[Varied, ...]
    """Empty for an ordinary job."""
    picks: tuple[tuple[int, ...], ...]
    """Per job, for every varied key, which of its values it has."""


def load_jobs(path: Path, overrides: Sequence[str] = (), run_dir: Path | None = None) -> Sweep:
    """Reads and checks a job file and every run that its matrix and its patterns make of it.

    Each run is an ordinary job: named NAME-VALUES, and written to the output's path with its name in the
    place of `{name}`, or with its values added to the file's stem. A job that varies nothing is one
    run under its own name. `overrides` as in `load_job`; `matrix.KEY=[...]` adds a key to the matrix.
    `run_dir` is where the runs are kept, `runs` beside the file where it is not said; patterns match nothing
    there. Raises JobError with every mistake of every run, each once, with its line.
    """
    runs_folder = run_dir or path.absolute().parent / "runs"
    check_name(path)
    document, parsed, problems = read_document(path, overrides, in_matrix)
    axes, mistakes = read_axes(document, parsed, path, runs_folder)
    problems += mistakes
    count = math.prod(len(axis.values) for axis in axes)
    if count > MOST_RUNS:
        sizes = " x ".join(str(len(axis.values)) for axis in axes)
        problems.append(f"{path}: the matrix makes {sizes} = {count} runs, and may make {MOST_RUNS} at most")
        axes = [replace(axis, values=axis.values[:1], places=axis.places[:1]) for axis in axes]
    problems += default_name(document.data, path)
    base = document.data["name"]
    jobs: list[Job] = []
    runs = list(itertools.product(*(range(len(axis.values)) for axis in axes)))
    for picks, ending in zip(runs, _tails(axes, runs, base), strict=True):
        try:
            jobs.append(_job(document, parsed, axes, picks, ending, path))
        except JobError as error:
            problems += error.problems
    if not problems:
        problems += _collisions(jobs, axes, path, runs_folder)
    if problems:
        raise JobError(sorted(dict.fromkeys(problems), key=lambda text: _line(text, path)))
    shown = tuple(_shown(axes))
    return Sweep(base, tuple(jobs), shown, tuple(runs))


def _line(problem: str, path: Path) -> float:
    """The line that a problem names; those that name none come last, in their order."""
    match = re.match(rf"{re.escape(str(path))}, line (\d+)", problem)
    return int(match[1]) if match else math.inf


def _job(
    document: Document,
    parsed: Sequence[Override],
    axes: Sequence[Axis],
    picks: Sequence[int],
    ending: str,
    path: Path,
) -> Job:
    """One run. Raises JobError with its mistakes."""
    data = copy.deepcopy(document.data)
    choices = choose(axes, picks)
    problems = apply(data, choices)
    name = data["name"]
    if isinstance(name, str) and is_name(name):
        data["name"] = _joined(name, ending)
        _fill_outputs(data, data["name"], ending)
    # A value that is wrong was written in the matrix: its line is the choice's.
    return checked_job(replace(document, data=data), [*parsed, *choices], problems, path)


def _tails(axes: Sequence[Axis], runs: Sequence[tuple[int, ...]], base: Any) -> Iterator[str]:
    """What each run adds to its name, all different, also where the system ignores upper and lower case.

    They are made of the run's own values alone, so that a run keeps its name when the matrix grows.
    """
    names = labels([axis.key for axis in axes])
    seen: set[str] = set()
    for picks in runs:
        chosen = [
            (label, axis.values[pick], axis.kind)
            for label, axis, pick in zip(names, axes, picks, strict=True)
        ]
        ending = tail(chosen)
        if {_key(base, ending), ending.casefold()} & seen:
            ending = hashed(ending, chosen)
        seen |= {_key(base, ending), ending.casefold()}
        yield ending


def _key(base: Any, ending: str) -> str:
    return "name " + _joined(str(base), ending).casefold()


def _joined(base: str, ending: str) -> str:
    return base[: MOST_OF_NAME - len(ending)] + ending


def _fill_outputs(data: dict[str, Any], name: str, ending: str) -> None:
    """The run's own files: its name for `{name}`, or its values behind the stem."""
    for key, formats in (("output", OUTPUT_FORMATS), ("animation", ANIMATION_FORMATS)):
        section = data.get(key)
        if isinstance(section, dict):
            for one in ("path", "address"):
                if one in section:
                    section[one] = _filled(section[one], formats, name, ending)
        elif isinstance(section, str) and key == "animation":
            data[key] = _filled(section, formats, name, ending)


def _filled(written: Any, formats: Mapping[str, str], name: str, ending: str) -> Any:
    if not isinstance(written, str) or Path(written).suffix.lower() not in formats:
        return written  # told by the path's own rule, once, as it was written
    if PLACEHOLDER in written:
        return written.replace(PLACEHOLDER, name)
    if ending and Path(written).stem:
        return with_name_ending(written, ending)
    return written


def _collisions(jobs: Sequence[Job], axes: Sequence[Axis], path: Path, runs_folder: Path) -> Iterator[str]:
    """No two runs write one file, and none writes what another one reads, now or at the next submission."""
    writers: dict[Path, Job] = {}
    for job in jobs:
        for key, target in written_files(job):
            if (other := writers.setdefault(target, job)) is not job:
                yield (
                    f"{path}: {other.name} and {job.name} would both write {found_path(target)}; "
                    f"write {PLACEHOLDER} into {key}, before its ending"
                )
    inputs = {one for job in jobs for _, one in input_files(job)}
    written = {os.path.realpath(target) for target in writers}
    for one in sorted(inputs):
        if os.path.realpath(one) in written:
            yield f"{path}: a run would overwrite {found_path(one)}, which one reads; change output.path"
    folder = path.absolute().parent
    for pattern in (pattern for axis in axes for pattern in axis.patterns):
        if any(would_match(target, pattern, folder, runs_folder) for target in writers):
            yield (
                f"{path}: the pattern {pattern!r} would match the pictures that the runs write; "
                "write them into another folder, such as output.path: out/{name}.tif"
            )


def _shown(axes: Sequence[Axis]) -> Iterator[Varied]:
    for label, axis in zip(labels([axis.key for axis in axes]), axes, strict=True):
        yield Varied(label, tuple(value_caption(value, axis.kind) for value in axis.values))
