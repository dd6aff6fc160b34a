"""How the picture is improved step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tilefarm.spec.section import Conflict, Section
from tilefarm.spec.values import Number

OptimizerName = Literal["lbfgs", "adam", "cg"]
Decay = Annotated[Number, Field(ge=0, lt=1)]

_DEFAULTS: dict[str, dict[str, Any]] = {
    "lbfgs": {"history": 20},
    "adam": {"step_size": 0.02, "betas": (0.9, 0.99), "averaging": 0.99},
    "cg": {},
}
"""Every optimizer's own keys. Those of the others have no value."""
_OWNERS = {key: name for name, keys in _DEFAULTS.items() for key in keys}


class Optimizer(Section):
    """The minimiser. A key that belongs to another one is None."""

    name: OptimizerName = "lbfgs"
    history: Annotated[int, Field(ge=1, le=200)] | None = 20
    """Of lbfgs: the pairs that it remembers."""
    step_size: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Of adam: how far a pixel moves in a usual step, in values of 0..1 for black to white."""
    betas: Annotated[tuple[Decay, ...], Field(min_length=2, max_length=2, strict=False)] | None = None
    """Of adam: what the means of the gradient and of its square keep in a step."""
    averaging: Decay | None = None
    """Of adam: what the mean of the iterates keeps in a step; 0 takes the last iterate."""

    @classmethod
    def prepared(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """With the defaults of the optimizer that is named, and nothing for the others' keys."""
        name = given.get("name", "lbfgs")
        if not isinstance(name, str) or name not in _DEFAULTS:
            return given
        return dict.fromkeys(_OWNERS) | _DEFAULTS[name] | dict(given)

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """A key belongs to one optimizer, and has a value where that is the one."""
        name = given.get("name", "lbfgs")
        if not isinstance(name, str) or name not in _DEFAULTS:
            return  # told by the name's own rule
        for key, owner in _OWNERS.items():
            if owner != name and given.get(key) is not None:
                yield Conflict(
                    (key,),
                    f"is a key of the optimizer {owner}, and optimizer.name is {name}; "
                    f"remove it, or set optimizer.name to {owner}",
                )
            elif owner == name and key in given and given[key] is None:
                yield Conflict((key,), f"is empty; remove it, or give it a value such as {_shown(name, key)}")


def _shown(name: str, key: str) -> str:
    value = _DEFAULTS[name][key]
    return str(list(value)) if isinstance(value, tuple) else str(value)
