"""What follows a pooling is about as active after any of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tilefarm.solve.contract import Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.spec.networks import PoolingName

LAYERS = ("relu2_1", "relu3_1", "relu4_1", "relu5_1")
PHOTOGRAPH = Path(__file__).parents[2] / "jobs/coffee.jpg"


def mean_activations(weights: Weights, pooling: PoolingName) -> np.ndarray:
    with Image.open(PHOTOGRAPH) as image:
        pixels = np.asarray(image.convert("RGB").resize((160, 120), Image.Resampling.LANCZOS))
    picture = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        network = FeatureNetwork("vgg19", weights, LAYERS, pooling=pooling)
        features = network.features(picture, LAYERS)
    return np.array([float(features[layer].mean()) for layer in LAYERS])


@pytest.mark.parametrize("pooling", ["average", "l2"])
def test_a_photographs_activations_keep_their_size(pooling: PoolingName, bundled: Weights) -> None:
    """Without the factors the last ratios are 0.1 and, for l2, 4."""
    ratios = mean_activations(bundled, pooling) / mean_activations(bundled, "max")
    assert 0.6 < ratios.min() <= ratios.max() < 1.4
    assert 0.85 < np.exp(np.log(ratios).mean()) < 1.15
