"""The layers that a job looks at where it names none: each network has its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tilefarm.spec.objective import DEFAULT_CONTENT_LAYERS, DEFAULT_STYLE_LAYERS, Objective
from tilefarm.spec.section import written

Layers = tuple[tuple[str, float], ...]

_OF_THE_MODEL: dict[str, Layers] = {
    "content_layers": DEFAULT_CONTENT_LAYERS,
    "style_layers": DEFAULT_STYLE_LAYERS,
}
_OF_OTHERS: dict[str, dict[str, Layers]] = {
    "squeezenet": {
        "content_layers": (("fire7", 1.0),),
        "style_layers": tuple((name, 1.0) for name in ("relu1", "fire2", "fire3", "fire4", "fire5")),
    }
}
"""By eye the best of four sets: with deeper style layers the painting's colours hardly come through."""


def default_layers(network: str) -> dict[str, Layers]:
    """(name, weight) of the default layers of a network, by the objective's keys."""
    return _OF_OTHERS.get(network, _OF_THE_MODEL)


def with_default_layers(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A job as it was written, with its network's layers where it names none.

    The model's own default is that of the VGGs, so for them nothing is added. What has not the form of a job
    is left as it is, and told by its own rule.
    """
    network, objective = written(given.get("network"), "name"), given.get("objective", {})
    if not isinstance(network, str) or network not in _OF_OTHERS:
        return given
    layers = _OF_OTHERS[network]
    if isinstance(objective, Objective):
        missing = {key: value for key, value in layers.items() if key not in objective.model_fields_set}
        return {**given, "objective": objective.model_copy(update=missing)}
    if isinstance(objective, Mapping):
        return {**given, "objective": {**layers, **objective}}
    return given
