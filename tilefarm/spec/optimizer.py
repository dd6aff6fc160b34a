"""How the picture is improved step by step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tilefarm.spec.section import Section


class Optimizer(Section):
    """The minimiser."""

    name: Literal["lbfgs"] = "lbfgs"
    history: Annotated[int, Field(ge=1, le=200)] = 20
