"""All settings of a job, key by key, beside what they would be if the job left them out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from tilefarm.spec.model import Job
from tilefarm.spec.run_names import value_caption

_NEEDED = ("name", "content", "styles.0.image", "output.path")
"""Keys without a default."""
_OF_NETWORK = ("objective.style_layers", "objective.content_layers")
"""Keys whose defaults follow the network."""
Leaf = str | int | float | bool | None | list[Any]


@dataclass(frozen=True)
class Setting:
    """One key of the job file."""

    key: str
    """Dotted: objective.style_weight, styles.0.scale."""
    value: str
    """As people write it, on one line."""
    default: str | None
    """Likewise; None where there is none."""

    @property
    def is_changed(self) -> bool:
        """Whether the job says something else than the default. Keys that every job must give are not."""
        return self.key not in _NEEDED and self.value != self.default


def settings_of(job: Job) -> list[Setting]:
    """Every key in the job file's order."""
    defaults = {key: full(value) for key, value in _defaults(job).items()}
    return [
        Setting(key, full(value), None if key in _NEEDED else defaults.get(key))
        for key, value in leaves(job).items()
    ]


def leaves(job: Job) -> dict[str, Leaf]:
    """Every value that a job has with its dotted key; mappings of layers are values of their own keys."""
    return dict(_leaves(job.model_dump(mode="json")))


def short(value: Leaf) -> str:
    """A value for a heading or a filter: of a path the file's name alone."""
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return full(value)


def full(value: Leaf) -> str:
    """A value as people write it, on one line."""
    return "none" if value is None else value_caption(value)


def _defaults(job: Job) -> dict[str, Leaf]:
    """The leaves of a job with these pictures that says nothing else."""
    given: dict[str, Any] = {
        "name": job.name,
        "content": job.content,
        "styles": tuple({"image": style.image} for style in job.styles),
        "output": {"path": job.output.path},
    }
    plain = dict(_leaves(Job.model_validate(given).model_dump(mode="json")))
    same_network = Job.model_validate({**given, "network": job.network})
    of_network = dict(_leaves(same_network.model_dump(mode="json")))
    known = {key: value for key, value in of_network.items() if key.startswith(_OF_NETWORK)}
    return {key: value for key, value in plain.items() if not key.startswith(_OF_NETWORK)} | known


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Leaf]]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for number, each in enumerate(value):
            yield from _leaves(each, f"{key}.{number}")
    else:
        yield key, value
