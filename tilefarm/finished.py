"""What `recolor` and `export` share: a run's finished canvas, the file to be made of it, and its writing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tilefarm.driver import load_run
from tilefarm.errors import JobError
from tilefarm.image.decode import inspect
from tilefarm.integrity import is_intact
from tilefarm.plan.build import LevelPlan, build_plan
from tilefarm.prepare import Prepared
from tilefarm.provenance import Made, packet_for
from tilefarm.rundir.journal import read_journal
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.rundir.leftovers import clear_leftovers
from tilefarm.rundir.place import telling_of_place
from tilefarm.rundir.state import RunState
from tilefarm.spec.color import Color
from tilefarm.spec.file_keys import FileKeys
from tilefarm.spec.files import input_files
from tilefarm.spec.model import Job
from tilefarm.spec.output import Output
from tilefarm.spec.output_presets import without_related
from tilefarm.spec.paths import OUTPUT_FORMATS, same_file
from tilefarm.spec.problems import sentence
from tilefarm.spec.sheet import Sheet
from tilefarm.transparency import keeps_alpha

_KEY = re.compile(r"\boutput\.(\w+)(?:\.\w+)?(?:: (true|false|\d+|srgb)\b)?")
"""Of a job, with its value where a sentence advises one."""
_OF_ALL_FORMATS = ("profile", "intent", "dpi", "provenance")


@dataclass(frozen=True)
class Finished:
    """A level of a run whose canvas is complete and as it was left."""

    run: RunDir
    prepared: Prepared
    """Looked at, and not decoded again."""
    state: RunState
    level: LevelPlan

    @property
    def job(self) -> Job:
        """The run's."""
        return self.prepared.job

    @property
    def keeps_alpha(self) -> bool:
        """Whether its pictures have a fourth channel."""
        return keeps_alpha(self.prepared)


def open_run(folder: Path) -> RunDir:
    """The run in a folder. Raises JobError where there is none."""
    run = RunDir(folder.absolute())
    if not run.exists():
        raise JobError(f"{run.root} holds no job.yaml; name a run folder such as runs/NAME-HASH, or a file")
    return run


@contextmanager
def held(run: RunDir) -> Iterator[None]:
    """Hold a run's lock, and remove what killed processes left in its folder.

    Raises JobError or ResourceError where nothing can be written there, RunBusyError where another process
    works on it.
    """
    with telling_of_place(run.root, "copy the folder, under its own name, to such a place"):
        lock = RunLock(run)
    with lock:
        clear_leftovers(run, ())
        yield


def finished(run: RunDir, number: int | None = None) -> Finished:
    """The finest level of a run, or level `number` counted from 1 at the coarsest, which must be finished.

    The caller holds the run's lock. Raises JobError.
    """
    job, _ = load_run(run)
    content = inspect(job.content, "content").on(job.alpha.rgb, job.alpha.background)
    styles = tuple(inspect(style.image, "style") for style in job.styles)
    prepared = Prepared(job, content, styles, build_plan(job, content.size, [s.size for s in styles]), ())
    state, levels = RunState.replay(read_journal(run.journal)), prepared.plan.levels
    done = [one for one in levels if state.rounds_done(one.index) == one.rounds]
    if number is None:
        level = levels[-1]
        if level in done and is_intact(run, state, level):
            return Finished(run, prepared, state, level)
        hint = f"; of its {len(levels)} levels {len(done)} are: --level {len(done)}" if done else ""
        raise JobError(f"{run.root} is not finished; finish it first: tilefarm resume {run.root}{hint}")
    if not 1 <= number <= len(levels):
        raise JobError(f"--level must be 1 to {len(levels)}, the levels of {run.root}, got {number}")
    level = levels[number - 1]
    if level not in done or not is_intact(run, state, level):
        raise JobError(f"level {number} of {run.root} is not finished; go on: tilefarm resume {run.root}")
    return Finished(run, prepared, state, level)


def kept_keys(job: Job, given: Mapping[str, Any], path: Path | None = None) -> dict[str, Any]:
    """The keys of a job's output that go on for another file of its run, beside those that are given.

    None beside a preset, those of the format only where `path` has the same one, and none that belongs
    together with a given one.
    """
    output = job.output
    if "preset" in given:
        return {} if "provenance" in given else {"provenance": output.provenance}
    keys = [*_OF_ALL_FORMATS]
    if path is not None and OUTPUT_FORMATS.get(path.suffix.lower()) == output.format:
        keys += [key for key in FileKeys.model_fields if key not in ("path", *keys)]
    return without_related({key: getattr(output, key) for key in keys}, given)


def typed_output(given: Mapping[str, Any]) -> tuple[Output | None, list[str]]:
    """The output section of what was typed, relative paths starting here; or what is wrong with it."""
    try:
        return Output.model_validate(given, context={"folder": Path.cwd()}), []
    except ValidationError as error:
        return None, [_as_typed(sentence(one, (_option(one["loc"]),))) for one in error.errors()]


def _option(location: tuple[int | str, ...]) -> str:
    key = "bleed" if location == ("print", "bleed") else str(location[0])
    return "--output" if key == "path" else f"--{key.replace('_', '-')}"


@contextmanager
def told_as_typed() -> Iterator[None]:
    """Have the problems of a JobError name options of the command, where a job has keys."""
    try:
        yield
    except JobError as error:
        raise JobError([_as_typed(problem) for problem in error.problems]) from error


def _as_typed(problem: str) -> str:
    """`output.tiled: false` is written `--strips`, and paths start where the command is."""
    problem = problem.replace("relative paths start at the job file's folder", "relative paths start here")
    return _KEY.sub(_option_of, problem)


def _option_of(key: re.Match[str]) -> str:
    option, value = _option((key[1],)), key[2]
    if value in ("true", "false"):
        off = "--strips" if key[1] == "tiled" else f"--no-{option[2:]}"
        return option if value == "true" else off
    return option if value is None else f"{option} {value}"


def overwritten(job: Job, path: Path) -> list[str]:
    """Sentences where a file would replace what the run reads, or its own picture."""
    problems = []
    for key, other in (*input_files(job), ("the run's own picture", job.output.path)):
        if same_file(other, path.absolute()):
            way = "" if other != job.output.path else ", or submit the job with other keys"
            problems.append(f"--output would overwrite {key}, {other}; choose another file{way}")
    return problems


def packet_of(
    done: Finished, output: Output, sheet: Sheet, color: Color | None = None, recolored: str | None = None
) -> bytes | None:
    """The record for another file of a run; None where the file shall have none.

    Its job is the run's with the keys of this file, and with `color` where that is given; the size that it
    asks for stays the run's.
    """
    if not output.provenance:
        return None
    job, plan = done.job, done.prepared.plan
    keys = {key: getattr(output, key) for key in (*FileKeys.model_fields, "preset", "proof")}
    if job.output.print is None:  # else the size of the canvas follows from it
        keys["dpi"] = output.dpi
    as_asked = (sheet.size, sheet.trim) == (plan.sheet.size, plan.sheet.trim)
    paper = job.output.print if as_asked else output.print
    new = {"output": job.output.model_copy(update=keys), "color": color or job.color}
    made = Made(plan.output, sheet, paper)
    return packet_for(job.model_copy(update=new), done.run, done.state.started, made, output.path, recolored)
