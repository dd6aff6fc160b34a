"""Validation errors as sentences that a painter understands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic_core import ErrorDetails

from tilefarm.spec.model import Job
from tilefarm.spec.section import Section
from tilefarm.spec.values import did_you_mean, found, printable
from tilefarm.spec.yaml_source import Location

_REQUIRED = {
    "content": "name the photograph's file",
    "styles": "name the painting's file, or several paintings under styles",
    "output": "give at least output.path, the file to write",
    "path": "name the file to write, for example picture.tif",
    "animation.path": "name the film to write, for example picture.gif",
    "profile": "name the CMYK profile of the press",
    "image": "name the painting's file",
    "width": "a print needs width and height, for example 40cm",
    "height": "a print needs width and height, for example 30cm",
    "nodes": "list the farm's machines, each with its speed",
}


def dotted(location: Location) -> str:
    """The name of a key as `--set` takes it: ('styles', 0, 'image') is styles.0.image."""
    return ".".join(map(str, location))


def sentence(
    error: ErrorDetails, location: Location, root: type[Section] = Job, whole: str = "the job file"
) -> str:
    """What is wrong, beginning with the key's name.

    `location` is where the mistake was written, which for the short form `style` is not where the model
    has it. `root` is the model of the file, and `whole` what the file is called.
    """
    key, value, context = printable(dotted(location)), error["input"], error.get("ctx", {})
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown_key(error["loc"], root, whole)
    if kind == "missing":
        name = "style" if location == ("styles",) else key
        where = ".".join(str(part) for part in error["loc"][-2:])
        wanted = _REQUIRED.get(where) or _REQUIRED.get(str(error["loc"][-1]))
        return f"{name} is missing; {wanted or 'give it'}"
    if kind == "value_error":
        text = str(context["error"])
        return f"{key}{text}" if text.startswith(":") else f"{key} {text}"
    if kind == "model_type":
        return _not_a_section(error["loc"], key, value, root, whole)
    rule = _RULES[kind](context) if kind in _RULES else "has a value that cannot be used"
    advice = did_you_mean(value, _choices(context)) if kind == "literal_error" else ""
    got = str(len(value)) if kind in ("too_short", "too_long") else found(value)
    return f"{key or whole} {rule}, got {got}{advice}"


def is_echo(error: ErrorDetails) -> bool:
    """Pydantic also calls a list too short whose entries are enough but wrong."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


_RULES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "int_type": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "bool_type": lambda _: "must be true or false",
    "float_type": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "tuple_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a mapping of keys to values",
    "literal_error": lambda context: f"must be {context['expected'].replace(chr(39), '')}",
    "greater_than": lambda context: f"must be more than {_plain(context['gt'])}",
    "greater_than_equal": lambda context: f"must be at least {_plain(context['ge'])}",
    "less_than": lambda context: f"must be less than {_plain(context['lt'])}",
    "less_than_equal": lambda context: f"must be at most {_plain(context['le'])}",
    "too_short": lambda context: f"must have at least {_entries(context['min_length'])}",
    "too_long": lambda context: f"must have at most {_entries(context['max_length'])}",
}


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _choices(context: Mapping[str, Any]) -> list[str]:
    """The words of pydantic's "'exact' or 'feathered'"."""
    return str(context["expected"]).replace(" or ", ", ").replace("'", "").split(", ")


def _unknown_key(location: Location, root: type[Section], whole: str) -> str:
    section = location[:-1]
    valid = _keys(section, root)
    name = printable(dotted(section)) or ("a job" if root is Job else whole)
    advice = did_you_mean(location[-1], valid) or f"; its keys are {', '.join(valid)}"
    return f"{dotted(location)!r} is not a key of {name}{advice}"


def _not_a_section(location: Location, key: str, value: object, root: type[Section], whole: str) -> str:
    keys = ", ".join(_keys(location, root))
    if value is None and location:
        return f"{key} is empty; remove it, or give it some of its keys {keys}"
    return f"{key or whole} must be a mapping with the keys {keys}, got {found(value)}"


def _keys(location: Location, root: type[Section]) -> list[str]:
    """The valid keys of the section at `location`."""
    section = root
    for part in location:
        if isinstance(part, str):
            section = _section_in(section.model_fields[part].annotation) or section
    return [*section.model_fields, *(["style"] if section is Job else [])]


def _section_in(annotation: Any) -> type[Section] | None:
    """The section that a field holds: Tiles in Tiles, Print in Print | None, Style in tuple[Style, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = (_section_in(argument) for argument in get_args(annotation))
    return next((section for section in inner if section is not None), None)
