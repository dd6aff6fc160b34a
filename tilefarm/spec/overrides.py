"""Changes to a job file from the command line: `--set tiles.size=256`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tilefarm.errors import JobError
from tilefarm.spec.output import SIZE_KEYS
from tilefarm.spec.problems import dotted
from tilefarm.spec.short_forms import long_form
from tilefarm.spec.values import printable
from tilefarm.spec.yaml_source import Location, parse

_ALTERNATIVES: tuple[tuple[Location, tuple[str, ...]], ...] = (
    ((), ("style", "styles")),
    (("output",), SIZE_KEYS),
)
"""Keys of which a job has one: naming one on the command line takes the others out of the file."""


ONE_STYLE: Location = ("styles", 0, "image")
"""What `style` is where a job has the long form."""

_WHOLE_MAPPINGS = {"style_layers": "layers", "content_layers": "layers", "style_statistics": "statistics"}
"""What their defaults hold, which an entry that is set alone would replace."""


@dataclass(frozen=True)
class Override:
    """One `--set KEY=VALUE`."""

    text: str
    location: Location
    """List positions are ints."""
    value: Any

    @property
    def source(self) -> str:
        """How a message names it: on one line, whatever the shell let through."""
        return _source(self.text)

    @property
    def means_one_style(self) -> bool:
        """Whether it was written as `style` and is the picture of an entry of `styles`."""
        return self.location == ONE_STYLE and self.text.partition("=")[0].strip() == "style"


def _source(text: str) -> str:
    return f"--set {printable(' '.join(text.split()))}"


def parse_override(text: str) -> Override:
    """Reads `key.path=value`, the value as YAML. Raises JobError where there is no key or no YAML."""
    source = _source(text)
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise JobError(f"{source}: must have the form key.path=value, for example tiles.size=256")
    document = parse(value, source)
    if document.problems:
        raise JobError([f"{source}: {problem}" for _, problem in document.problems])
    location = tuple(
        int(part) if part.isdecimal() and part.isascii() and len(part) < 10 else part for part in parts
    )
    return Override(text, location, document.data)


def apply(data: dict[str, Any], overrides: Sequence[Override]) -> list[str]:
    """Writes the overrides into a job file's data, in order; returns the problems of those that fail."""
    _drop_alternatives(data, [override.location for override in overrides])
    problems = []
    for override in overrides:
        if override.means_one_style and (problem := several_styles(data)):
            problems.append(f"{override.source}: {problem}")
            continue
        try:
            _write(data, override)
        except ValueError as error:
            problems.append(f"{override.source}: {error}")
    return problems


def one_form_of_styles(overrides: Sequence[Override]) -> list[Override]:
    """`style` beside `styles.0.scale` is styles.0.image: a job has one of the two forms."""
    if ("styles",) in (override.location for override in overrides) or not any(
        is_in_styles(override.location) for override in overrides
    ):
        return list(overrides)
    return [
        replace(override, location=ONE_STYLE) if override.location == ("style",) else override
        for override in overrides
    ]


def several_styles(data: dict[str, Any]) -> str:
    """Why `style` cannot be said of a job with these styles; empty where it can be."""
    styles = data.get("styles")
    if not isinstance(styles, list) or len(styles) < 2:
        return ""
    return (
        f"style is the picture of a job's one style, but styles has {len(styles)} entries; "
        "name one of them, such as styles.0.image"
    )


def is_in_styles(location: Location) -> bool:
    """Whether it is a place in the long form of the styles."""
    return location[0] == "styles" and len(location) > 1


def _drop_alternatives(data: dict[str, Any], locations: Sequence[Location]) -> None:
    if any(is_in_styles(location) for location in locations) and "style" in data:
        # styles.0.weight=2 changes the one style that the file gives in the short form.
        data.setdefault("styles", [{"image": data.pop("style")}])
    if "styles" not in data and any(location[:2] == ("styles", 0) for location in locations):
        data["styles"] = [{}]
    for parent, keys in _ALTERNATIVES:
        depth = len(parent)
        named = {at[depth] for at in locations if len(at) > depth and at[:depth] == parent}.intersection(keys)
        section = data.get(str(parent[0])) if parent else data
        if named and isinstance(section, dict):
            for key in set(keys) - named:
                section.pop(key, None)


def _write(data: dict[str, Any], override: Override) -> None:
    """Sets the value and makes the mappings on the way. Raises ValueError where there is no such place."""
    *parents, last = override.location
    place: Any = data
    for depth, part in enumerate(parents):
        here = override.location[:depth]
        following = _child(place, part, here)
        if following is None:
            if isinstance(part, str) and part in _WHOLE_MAPPINGS and isinstance(last, str):
                whole, others = dotted((*here, part)), _WHOLE_MAPPINGS[part]
                raise ValueError(
                    f"{whole} is not in the file, and its other {others} would be lost; give all of them"
                )
            following = {}
            _assign(place, part, following, here)
        elif (expanded := long_form((*here, part), following)) is not None:
            following = expanded
            _assign(place, part, following, here)
        place = following
    _assign(place, last, override.value, override.location[:-1])


def _child(place: Any, part: str | int, here: Location) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, here)]
    if isinstance(place, dict):
        return place.get(str(part))
    raise ValueError(f"{dotted(here)} is a single value and has no keys")


def _assign(place: Any, part: str | int, value: Any, here: Location) -> None:
    if isinstance(place, list):
        place[_index(place, part, here)] = value
    elif isinstance(place, dict):
        place[str(part)] = value
    else:
        raise ValueError(f"{dotted(here)} is a single value and has no keys")


def _index(place: list[Any], part: str | int, here: Location) -> int:
    if not isinstance(part, int) or part >= len(place):
        last = f"0 to {len(place) - 1}" if place else "none"
        raise ValueError(f"{dotted(here)} is a list whose entries are numbered {last}, got {part!r}")
    return part
