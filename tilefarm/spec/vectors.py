"""Where the vectors of the exact method's optimizer lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from tilefarm.spec.section import Conflict

VectorsPlace = Literal["auto", "driver", "workers"]
"""The picture is the same. `auto`: with the workers where some are on other machines than the driver and have
room for them."""


def vectors_conflicts(compute: object, optimizer: object, method: object) -> Iterator[Conflict]:
    """`workers` with what cannot be done there. The arguments are what the job file has under these keys."""
    given = compute if isinstance(compute, Mapping) else {}
    if given.get("vectors") != "workers":
        return
    name = _name(optimizer)
    if name in ("adam", "cg"):
        yield Conflict(
            ("compute", "vectors"),
            f"must be driver or auto with optimizer {name}, got workers: only lbfgs works there",
        )
    if given.get("transport") == "half":
        yield Conflict(
            ("compute", "vectors"),
            "must be driver or auto with transport half, got workers: there pictures travel as they are",
        )
    if method == "feathered":
        yield Conflict(
            ("compute", "vectors"),
            "changes nothing with method feathered; choose exact, or leave vectors out",
            harmless=True,
        )


def _name(optimizer: Any) -> object:
    return optimizer.get("name") if isinstance(optimizer, Mapping) else optimizer
