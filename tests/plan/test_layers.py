"""Which layers a job looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tilefarm.plan.layers import content_layers, deepest_of, layers_of, style_layers
from tilefarm.spec.model import Job, Objective, Style
from tilefarm.spec.output import Output


def job(**objective: Any) -> Job:
    return Job(
        name="gate",
        content=Path("/in/gate.jpg"),
        styles=(Style(image=Path("/in/night.jpg")),),
        output=Output.model_validate({"path": Path("/out/gate.tif")}),
        objective=Objective.model_validate(objective),
    )


def test_decay_multiplies_from_style_layer_to_style_layer() -> None:
    layers = {"relu5_1": 1.0, "relu1_1": 1.0, "relu3_1": 2.0, "relu2_1": 0.0}
    found = style_layers(job(style_layers=layers, style_layer_decay=3.0))
    assert found == (("relu1_1", 1.0), ("relu3_1", 6.0), ("relu5_1", 9.0))


@pytest.mark.parametrize(
    ("blend", "layers"),
    [
        (0.0, (("relu4_2", 1.0),)),
        (0.25, (("relu4_2", 0.75), ("relu5_2", 0.25))),
        (1.0, (("relu5_2", 1.0),)),
    ],
)
def test_content_blend_goes_to_the_deeper_layer(blend: float, layers: Any) -> None:
    assert content_layers(job(content_blend=blend)) == layers
    assert deepest_of(job(content_blend=blend)) == ("relu5_2" if blend else "relu5_1")


def test_terms_without_weight_look_at_nothing() -> None:
    assert content_layers(job(content_weight=0)) == ()
    assert style_layers(job(style_weight=0)) == ()
    assert layers_of(job(style_weight=0)) == {"relu4_2"}
