"""The keys that a job file varies: `matrix`, and patterns for pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tilefarm.errors import JobError
from tilefarm.spec.globs import expand, is_pattern
from tilefarm.spec.overrides import ONE_STYLE, Override, is_in_styles, parse_override, several_styles
from tilefarm.spec.problems import dotted
from tilefarm.spec.run_names import Kind, canonical
from tilefarm.spec.values import found, printable
from tilefarm.spec.yaml_source import Document, Location

MOST_RUNS = 1000
_FIXED = {"name": "the names of the runs are made of their values", "output.path": "write {name} in it"}


@dataclass(frozen=True)
class Axis:
    """One key and the values that it takes."""

    key: str
    """As it was written, for example objective.style_weight."""
    location: Location
    values: tuple[Any, ...]
    places: tuple[str, ...]
    """Per value where it was written: "job.yaml, line 7"."""
    patterns: tuple[str, ...] = field(default=())
    """Those that were expanded into values."""

    @property
    def kind(self) -> Kind:
        """What its values are."""
        if _is_picture(self.location):
            return "picture"
        named = self.location in (("init",), ("network", "weights"))
        masks = self.location[0] == "styles" and self.location[-1] in ("mask", "style_mask")
        return "file" if named or masks else "value"


def read_axes(
    document: Document, overrides: Sequence[Override], path: Path, runs: Path
) -> tuple[list[Axis], list[str]]:
    """The axes in their order, slowest first, and the problems. Takes `matrix` out of the document's data.

    Patterns of content and styles outside of the matrix come before it, the matrix's keys as written.
    `runs` is the folder of the runs, in which patterns match nothing.
    """
    source = _Source(document, overrides, path, runs)
    given = "matrix" in document.data
    matrix = document.data.pop("matrix", {})
    problems: list[str] = []
    if not isinstance(matrix, dict) or (given and not matrix):
        rule = "must be a mapping of keys to lists of values such as {seed: [1, 2]}"
        return [], [f"{source.place(('matrix',))}: matrix {rule}, got {_found(matrix)}"]
    named: list[tuple[str, Any, Location]] = []
    for key, value in _patterns_outside(document.data, source.folder):
        if key not in matrix:
            named.append((key, [value], tuple(key.split("."))))
    named += [(key, value, ("matrix", key)) for key, value in matrix.items()]
    axes = []
    for key, values, at in named:
        try:
            axes.append(_axis(key, values, at, source))
        except JobError as error:
            problems += error.problems
            document.unreadable.add(_as_in_file(at))
    problems += _mistaken_styles(axes, document.data, source)
    axes = _one_form_of_styles(axes, document.data)
    return axes, problems + list(_overlaps(axes, overrides))


def choose(axes: Sequence[Axis], picks: Sequence[int]) -> list[Choice]:
    """What one run sets."""
    return [
        Choice(axis.key, axis.location, axis.values[pick], axis.places[pick])
        for axis, pick in zip(axes, picks, strict=True)
    ]


@dataclass(frozen=True)
class Choice(Override):
    """One value of an axis, written into the job like an override."""

    place: str = ""

    @property
    def source(self) -> str:
        """How a message names it."""
        return self.place


@dataclass(frozen=True)
class _Source:
    document: Document
    overrides: Sequence[Override]
    path: Path
    runs: Path

    @property
    def lines(self) -> dict[Location, int]:
        return self.document.lines

    @property
    def folder(self) -> Path:
        return self.path.absolute().parent

    def place(self, at: Location) -> str:
        """The override that wrote this, or the file and its line."""
        at = _as_in_file(at)
        for override in reversed(self.overrides):
            if override.location == at[: len(override.location)]:
                return override.source
        lines = (self.lines.get(at[:end]) for end in range(len(at) + 1, 0, -1))
        return f"{self.path}, line {next((line for line in lines if line), 1)}"


def _as_in_file(at: Location) -> Location:
    """List positions as numbers, but not in a matrix's key, which is one text."""
    return at if at[0] == "matrix" else tuple(int(p) if str(p).isdecimal() else p for p in at)


def in_matrix(override: Override) -> Override:
    """`--set matrix.tiles.size=[256, 512]` names the matrix's one key tiles.size."""
    if override.location[0] != "matrix" or len(override.location) < 3:
        return override
    return replace(override, location=("matrix", dotted(override.location[1:])))


def _axis(key: str, values: Any, at: Location, source: _Source) -> Axis:
    """Raises JobError with every problem of this key."""
    place = source.place(at)
    location, shown = _location(key, place), printable(key)
    entries = values if isinstance(values, list) else [values]
    patterns: list[str] = []
    if not isinstance(values, list) and not (_is_picture(location) and is_pattern(values, source.folder)):
        raise JobError(f"{place}: matrix.{shown} must be a list of values, got {found(values)}")
    if not entries:
        raise JobError(f"{place}: matrix.{shown} must have at least one value, got an empty list")
    expanded: list[tuple[Any, str]] = []
    problems = []
    for number, entry in enumerate(entries):
        where = source.place((*at, number))
        if not (_is_picture(location) and is_pattern(entry, source.folder)):
            expanded.append((entry, where))
            continue
        patterns.append(entry)
        try:
            expanded += [(name, where) for name in expand(entry, source.folder, source.runs)]
        except (ValueError, RuntimeError) as error:
            problems.append(f"{where}: {shown} {error}")
    seen: set[str] = set()
    for value, where in expanded:
        if canonical(value) in seen:
            problems.append(f"{where}: matrix.{shown} holds {found(value)} twice; keep one of them")
        seen.add(canonical(value))
    if problems:
        raise JobError(problems)
    return Axis(key, location, tuple(v for v, _ in expanded), tuple(w for _, w in expanded), tuple(patterns))


def _found(matrix: Any) -> str:
    return "an empty mapping" if matrix == {} else found(matrix)


def _location(key: str, place: str) -> Location:
    if (rule := _FIXED.get(key)) is not None:
        raise JobError(f"{place}: matrix cannot vary {key}; {rule}")
    if key == "output" or key.split(".")[0] == "matrix":
        way = "name one of its other keys such as output.width"
        raise JobError(f"{place}: matrix cannot vary {printable(key)}; {way}")
    try:
        return parse_override(f"{key}=0").location
    except JobError:
        raise JobError(
            f"{place}: the keys of matrix are keys of the job such as tiles.size, got {found(key)}"
        ) from None


def _is_picture(location: Location) -> bool:
    return location in (("content",), ("style",)) or (location[0] == "styles" and location[-1] == "image")


def _patterns_outside(data: dict[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    """The keys outside of the matrix whose values are patterns."""
    styles = data.get("styles")
    pictures = [("content", data.get("content")), ("style", data.get("style"))]
    for number, style in enumerate(styles if isinstance(styles, list) else []):
        pictures.append((f"styles.{number}.image", style.get("image") if isinstance(style, dict) else None))
    return ((key, str(value)) for key, value in pictures if is_pattern(value, folder))


def _overlaps(axes: Sequence[Axis], overrides: Sequence[Override]) -> Iterator[str]:
    """A key is varied once, and not set from the command line as well."""
    for number, axis in enumerate(axes):
        for other in axes[:number]:
            if _inside(axis.location, other.location):
                yield f"{axis.places[0]}: {axis.key} and {other.key} vary the same key; keep one of them"
        for override in overrides:
            varied = override.location[0] != "matrix" and _inside(axis.location, override.location)
            if varied and not axis.places[0].startswith(override.source):
                yield (
                    f"{override.source}: {axis.key} is varied by {axis.places[0]}; leave one of them out, "
                    f"or give the values with --set 'matrix.{axis.key}=[...]'"
                )


def _inside(one: Location, other: Location) -> bool:
    one, other = (ONE_STYLE if location == ("style",) else location for location in (one, other))
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _mistaken_styles(axes: Sequence[Axis], data: dict[str, Any], source: _Source) -> Iterator[str]:
    """Styles that the values of an axis would replace without a word."""
    if {"style", "styles"} <= data.keys() and any(_inside(axis.location, ("styles",)) for axis in axes):
        yield f"{source.place(('style',))}: style cannot be given together with styles; keep only one of them"
    for axis in axes:
        if axis.location == ("style",) and (problem := several_styles(data)):
            yield f"{axis.places[0]}: {problem}"


def _one_form_of_styles(axes: list[Axis], data: dict[str, Any]) -> list[Axis]:
    """`style` beside `styles.0.scale` is styles.0.image: a job has one of the two forms."""
    long = data.get("styles") or any(is_in_styles(axis.location) for axis in axes)
    if not long or several_styles(data):
        return axes
    return [replace(axis, location=ONE_STYLE) if axis.location == ("style",) else axis for axis in axes]
