"""Keys that would change nothing beside the rest of the job: a person who sets one waits for an effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tilefarm.spec.objective import DEFAULT_STYLE_LAYERS
from tilefarm.spec.presets import PRESETS
from tilefarm.spec.section import Conflict, written


def useless_keys(own: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Conflict]:
    """Of the objective and of compute. `own` is the job as it was written, `given` with its preset's keys.

    Terms that were switched off by a weight of 0 may keep their layers: only the total variation is off where
    nobody has asked for that.
    """
    asked, objective = own.get("objective"), given.get("objective")
    usual = [{"tv_exponent": 2, "style_layer_decay": 1}, _of_preset(own)]

    def changed(key: str) -> bool:
        value = written(asked, key)
        return isinstance(value, int | float) and all(value != known.get(key) for known in usual)

    if changed("tv_exponent") and not written(objective, "tv_weight"):
        yield Conflict(
            ("objective", "tv_exponent"),
            "changes nothing while objective.tv_weight is 0; raise that too, or leave tv_exponent out",
            harmless=True,
        )
    if changed("style_layer_decay") and _single(written(objective, "style_layers")):
        yield Conflict(
            ("objective", "style_layer_decay"),
            "changes nothing with a single layer in objective.style_layers; name more, or leave it out",
            harmless=True,
        )
    transport = written(given.get("compute"), "transport")
    if transport in ("packed", "half") and given.get("method") == "feathered":
        yield Conflict(
            ("compute", "transport"),
            "changes nothing with method feathered; choose exact, or leave transport out",
            harmless=True,
        )


def _of_preset(own: Mapping[str, Any]) -> Mapping[str, Any]:
    """The preset's objective: a job that was written out in full has its values, too."""
    found = (preset.keys["objective"] for name, preset in PRESETS.items() if name == own.get("preset"))
    return next(found, {})


def _single(layers: object) -> bool:
    if layers is None:
        layers = DEFAULT_STYLE_LAYERS
    named = dict(layers) if isinstance(layers, Mapping | tuple) else {}
    return sum(bool(weight) for weight in named.values()) == 1
