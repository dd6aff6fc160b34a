"""The receptive fields that halos are made of, against those that gradients show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tilefarm.plan.halo import receptive_field
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.weights import make_weights
from tilefarm.spec.networks import convolutions, layer_names


def even_network(name: str, layer: str) -> FeatureNetwork:
    """All weights positive and averages pooled, so that every pixel that a position sees has a gradient."""
    arrays: dict[str, NDArray[Any]] = {}
    for part in convolutions(name):
        even = 1 / (part.kernel**2 * part.channels_in)
        arrays[f"{part.name}.weight"] = np.full(part.shape, even, np.float32)
        arrays[f"{part.name}.bias"] = np.zeros(part.channels_out, np.float32)
    weights = make_weights(name, arrays, "torchvision", "the test's weights")
    return FeatureNetwork(name, weights, [layer], pooling="average")


def seen(name: str, layer: str, stride: int) -> tuple[int, int]:
    """Pixels that one position sees to the left and to the right of its own cell."""
    picture = torch.full((1, 3, 32, 480), 2.0, requires_grad=True)
    features = even_network(name, layer).features(picture, [layer])[layer]
    position = 240 // stride
    features[0, :, 0, position].sum().backward()  # type: ignore[no-untyped-call]
    assert picture.grad is not None
    columns = torch.nonzero(picture.grad[0].abs().sum((0, 1))).flatten()
    return position * stride - int(columns[0]), int(columns[-1]) + 1 - (position + 1) * stride


@pytest.mark.parametrize("network", ["vgg19", "vgg16"])
@pytest.mark.parametrize("layer", ["relu1_1", "relu1_2", "relu2_1", "relu3_3", "relu4_2", "relu5_1"])
def test_the_radius_is_what_gradients_show(network: str, layer: str) -> None:
    assert layer in layer_names(network)
    field = receptive_field(network, layer)
    assert max(seen(network, layer, field.stride)) == field.radius
    assert field.radius <= field.halo < field.radius + field.stride


@pytest.mark.parametrize("layer", layer_names("squeezenet"))
def test_squeezenet_sees_further_to_one_side(layer: str) -> None:
    field = receptive_field("squeezenet", layer)
    assert seen("squeezenet", layer, field.stride) == (field.before, field.after)
