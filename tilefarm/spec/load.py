"""A job file into a `Job`, or into all of its mistakes at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tilefarm.errors import JobError
from tilefarm.spec.bounds import outputs_outside
from tilefarm.spec.model import Job
from tilefarm.spec.overrides import Override, apply, one_form_of_styles, parse_override
from tilefarm.spec.presets import PRESETS
from tilefarm.spec.problems import dotted, is_echo, sentence
from tilefarm.spec.values import NAME_RULE, is_name
from tilefarm.spec.yaml_source import Document, Location, check_name, parse, read_job_text


def load_job(path: Path, overrides: Sequence[str] = (), *, kept: bool = False) -> Job:
    """Reads and checks a job file; each of `overrides` is a text `key.path=value`.

    `kept`: the file is that of a run folder, perhaps of an earlier version, and may hold keys that change
    nothing.

    Relative paths, also those in overrides, start at the job file's folder. The inputs are checked to be
    files, but not decoded. Raises JobError with every mistake that was found, each with its line or its
    override.
    """
    if not kept:  # those of a run folder hold absolute paths alone
        check_name(path)
    document, parsed, problems = read_document(path, overrides)
    if "matrix" in document.data:
        problems.append(f"{path} has a matrix, and this takes a job of one run; leave the matrix out")
        del document.data["matrix"]
    return checked_job(document, parsed, problems, path, kept=kept)


def read_document(
    path: Path, overrides: Sequence[str], read: Callable[[Override], Override] = lambda override: override
) -> tuple[Document, list[Override], list[str]]:
    """A job file's data with the overrides written into it, the overrides as `read` takes them, and problems.

    Raises JobError for what is no job file at all.
    """
    document = parse(read_job_text(path), str(path))
    if not isinstance(document.data, dict):
        state = "is empty" if document.data is None else "does not hold a mapping of keys to values"
        raise JobError(f"{path} {state}; a job file has at least content, style and output.path")
    parsed, problems = parse_all(overrides)
    parsed = [read(override) for override in parsed]
    problems = [f"{path}, line {line}: {problem}" for line, problem in document.problems] + problems
    return document, parsed, problems + apply(document.data, parsed)


def checked_job(
    document: Document,
    parsed: Sequence[Override],
    problems: Sequence[str],
    path: Path,
    *,
    kept: bool = False,
) -> Job:
    """The job that the document holds. Raises JobError with these problems and all that are found."""
    problems = [*problems, *default_name(document.data, path), *_outside(document, parsed, path)]
    context = {"folder": path.absolute().parent, "kept": kept}
    try:
        job = Job.model_validate(document.data, context=context)
    except ValidationError as error:
        problems += _validation_problems(error, document, parsed, path, _of_preset(error, document, context))
        raise JobError(list(dict.fromkeys(problems))) from None
    if problems:
        raise JobError(list(dict.fromkeys(problems)))
    return job


def _outside(document: Document, parsed: Sequence[Override], path: Path) -> Iterator[str]:
    """Outputs that leave the job file's folder, unless it was the user who said so."""
    for location, sentence_end in outputs_outside(document.data, path.absolute().parent):
        place = _place(location, document, parsed, path)[1]
        if not place.startswith("--set "):
            yield f"{place}: {dotted(location)} {sentence_end}"


def parse_all(texts: Sequence[str]) -> tuple[list[Override], list[str]]:
    """The overrides that can be read, in one form, and a sentence about each of the others."""
    overrides: list[Override] = []
    problems: list[str] = []
    for text in texts:
        try:
            overrides.append(parse_override(text))
        except JobError as error:
            problems += error.problems
    return one_form_of_styles(overrides), problems


def default_name(data: dict[str, Any], path: Path) -> list[str]:
    """Names a job that has no name after its file; returns the problem if that name does not allow it."""
    if "name" in data:
        return []
    data["name"] = path.stem if is_name(path.stem) else "unnamed"
    if is_name(path.stem):
        return []
    return [f"{path}: the job is named after its file, but name {NAME_RULE}, got {path.stem!r}; add a name"]


def _of_preset(error: ValidationError, document: Document, context: dict[str, Any]) -> set[Location]:
    """The places of mistakes that are gone without the preset: the job does not go with what that sets."""
    if document.data.get("preset") not in list(PRESETS):  # a list's `in` takes what has no hash, too
        return set()
    rest = {key: value for key, value in document.data.items() if key != "preset"}
    found = {(details["loc"], details["msg"]) for details in error.errors() if details["loc"] != ("preset",)}
    try:
        Job.model_validate(rest, context=context)
    except ValidationError as other:
        found -= {(details["loc"], details["msg"]) for details in other.errors()}
    return {location for location, _ in found}


def _validation_problems(
    error: ValidationError,
    document: Document,
    overrides: Sequence[Override],
    path: Path,
    of_preset: Collection[Location],
) -> list[str]:
    """Sentences in the order of their lines, those of overrides last."""
    placed: list[tuple[float, str]] = []
    for details in error.errors():
        location = _as_written(details, document.data)
        if _starts_with_any(location, document.unreadable) or is_echo(details):
            continue
        line, place = _place(location, document, overrides, path)
        cause = f" (preset: {document.data.get('preset')} sets the other key)" * (details["loc"] in of_preset)
        placed.append((line, f"{place}: {sentence(details, location)}{cause}"))
    placed.sort(key=lambda item: item[0])
    return [text for _, text in placed]


def _as_written(details: ErrorDetails, data: dict[str, Any]) -> Location:
    """The place of an error in the job file, where the one style may have the short form."""
    location = details["loc"]
    return ("style",) if location[:2] == ("styles", 0) and "styles" not in data else location


def _place(
    location: Location, document: Document, overrides: Sequence[Override], path: Path
) -> tuple[float, str]:
    name = dotted(location) + "."
    for override in reversed(overrides):
        below, written = name.startswith(dotted(override.location) + "."), location in document.lines
        if below or (not written and override.location[: len(location)] == location):
            return float("inf"), override.source
    for end in range(len(location), 0, -1):
        if line := document.lines.get(location[:end]):
            return line, f"{path}, line {line}"
    return 0, str(path)


def _starts_with_any(location: Location, prefixes: set[Location]) -> bool:
    return any(location[:end] in prefixes for end in range(len(location) + 1))
