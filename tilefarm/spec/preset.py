"""A job's preset, written into the job as if its keys had been given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tilefarm.spec.presets import PRESETS, Preset
from tilefarm.spec.section import Conflict, Section, written


def with_preset(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A job as it was written, with its preset's keys where it gives none, key by key inside sections.

    Where the job names another optimizer than the preset, it gets none of the preset's keys for that. What
    has not the form of a job is left as it is, and told by its own rule.
    """
    preset = _preset(given)
    if preset is None or _other_network(given) is not None:
        return given
    filled = {key: _filled(key, given, value) for key, value in preset.keys.items()}
    return {**given, **filled}


def other_networks(given: Mapping[str, Any]) -> Iterator[Conflict]:
    """The layers and weights of all presets are those of the VGGs."""
    network = _other_network(given)
    if _preset(given) is not None and network is not None:
        yield Conflict(
            ("preset",), f"is made for vgg16 and vgg19, and network.name is {network}; leave one of them out"
        )


def _preset(given: Mapping[str, Any]) -> Preset | None:
    return next((preset for name, preset in PRESETS.items() if name == given.get("preset")), None)


def _other_network(given: Mapping[str, Any]) -> str | None:
    name = written(given.get("network"), "name")
    return name if name == "squeezenet" else None


def _filled(key: str, given: Mapping[str, Any], value: Any) -> Any:
    """The value of a job's key: its own, with the preset's for what a section does not say."""
    if key not in given:
        return value
    own = given[key]
    if not isinstance(value, Mapping):
        return own
    if isinstance(own, Section):
        own = {name: getattr(own, name) for name in own.model_fields_set}
    if not isinstance(own, Mapping):
        return own
    if key == "optimizer" and own.get("name", value["name"]) != value["name"]:
        return own
    return {**value, **own}
