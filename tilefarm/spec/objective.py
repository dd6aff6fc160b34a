"""What is minimised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from tilefarm.spec.section import Conflict, Section
from tilefarm.spec.statistics import StyleStatistics, named_statistics
from tilefarm.spec.values import LayerWeights, Number, Weight

Units = Literal["relative", "absolute", "averaged"]
"""What errors are measured in: shares of the style's and content's own size; sums of squares as they are; or
means of squares, of Gram matrices that are divided by the number of channels."""

DEFAULT_CONTENT_LAYERS = (("relu4_2", 1.0),)
DEFAULT_STYLE_LAYERS = tuple((f"relu{block}_1", 1.0) for block in range(1, 6))


class Objective(Section):
    """What is minimised: the terms' weights and the layers they look at."""

    units: Units = "relative"
    """Other units have no constants of ours, and weights of layers and statistics are plain factors: the form
    in which systems publish theirs."""
    content_weight: Weight = 1.0
    style_weight: Weight = 1.0
    tv_weight: Weight = 0.0
    tv_exponent: Annotated[Number, Field(ge=1, le=3)] = 2.0
    """Of the differences of neighbours: near 1 edges stay sharp, above 2 the largest steps are smoothed."""
    content_layers: LayerWeights = DEFAULT_CONTENT_LAYERS
    style_layers: LayerWeights = DEFAULT_STYLE_LAYERS
    style_target: Literal["whole", "crop"] = "whole"
    style_statistics: StyleStatistics = (("gram", 1.0),)
    """What is compared with the style at each layer."""
    style_layer_decay: Annotated[Number, Field(gt=0, le=1000)] = 1.0
    """Multiplies the weight of each style layer after the first, once more from layer to layer."""
    activation_shift: Annotated[Number, Field(ge=-1e6, le=1e6)] = 0.0
    """Added to features before Gram matrices are formed, in the network's units."""
    content_blend: Annotated[Number, Field(ge=0, le=1)] | None = None
    """From relu4_2 (0) to relu5_2 (1), in place of `content_layers`."""
    normalize_gradients: bool = False
    """Whether every layer pulls as strongly as its weight says, however far it is from its aim."""

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """Keys that only work with others."""
        layers = given.get("content_layers") or DEFAULT_CONTENT_LAYERS
        named = dict(layers) if isinstance(layers, Mapping | tuple) else {}
        if given.get("content_blend") is not None and named != dict(DEFAULT_CONTENT_LAYERS):
            yield Conflict(
                ("content_blend",), "cannot be given together with content_layers; keep only one of them"
            )
        statistics = named_statistics(given.get("style_statistics", "gram"))
        if given.get("activation_shift") and statistics is not None and not statistics.get("gram"):
            yield Conflict(
                ("activation_shift",),
                "acts on Gram matrices, which style_statistics leaves out; leave one of the two keys out",
            )

    @field_validator("style_weight")
    @classmethod
    def _has_an_aim(cls, weight: float, info: ValidationInfo) -> float:
        if weight == 0 and info.data.get("content_weight") == 0:
            raise ValueError("and objective.content_weight must not both be 0; raise one of them")
        return weight
