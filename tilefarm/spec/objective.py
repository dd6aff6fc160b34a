"""What is minimised."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationInfo, field_validator

from tilefarm.spec.section import Section
from tilefarm.spec.values import LayerWeights, Weight

DEFAULT_CONTENT_LAYERS = (("relu4_2", 1.0),)
DEFAULT_STYLE_LAYERS = tuple((f"relu{block}_1", 1.0) for block in range(1, 6))


class Objective(Section):
    """What is minimised: the terms' weights and the layers they look at."""

    content_weight: Weight = 1.0
    style_weight: Weight = 1.0
    tv_weight: Weight = 0.0
    content_layers: LayerWeights = DEFAULT_CONTENT_LAYERS
    style_layers: LayerWeights = DEFAULT_STYLE_LAYERS
    style_target: Literal["whole", "crop"] = "whole"

    @field_validator("style_weight")
    @classmethod
    def _has_an_aim(cls, weight: float, info: ValidationInfo) -> float:
        if weight == 0 and info.data.get("content_weight") == 0:
            raise ValueError("and objective.content_weight must not both be 0; raise one of them")
        return weight
