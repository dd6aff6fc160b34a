"""Weights, pictures and settings for the solver's tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tilefarm.solve.contract import Picture, SolverSettings, Weights
from tilefarm.solve.weights import load_weights, make_weights
from tilefarm.spec.networks import convolutions


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def weights_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("weights_cache")
    yield folder
    shutil.rmtree(folder)  # 80 MB, which pytest would keep for three sessions


@pytest.fixture(scope="session")
def bundled(weights_cache: Path) -> Weights:
    """VGG-19's real weights."""
    return load_weights("vgg19", "bundled", cache=weights_cache)


@pytest.fixture(scope="session")
def random_weights() -> Callable[[str], Weights]:
    """Random weights of a network, of a size that keeps the activations' size from layer to layer."""
    made: dict[str, Weights] = {}

    def make(network: str) -> Weights:
        if network not in made:
            generator = np.random.default_rng(3)
            arrays: dict[str, NDArray[Any]] = {}
            for part in convolutions(network):
                scale = np.float32((2 / (part.kernel**2 * part.channels_in)) ** 0.5)
                arrays[f"{part.name}.weight"] = generator.standard_normal(part.shape, np.float32) * scale
                arrays[f"{part.name}.bias"] = generator.standard_normal(part.channels_out, np.float32) * 0.1
            made[network] = make_weights(network, arrays, "torchvision", "the test's weights")
        return made[network]

    return make


@pytest.fixture(scope="session")
def picture() -> Callable[[int, int, int], Picture]:
    """Smooth coloured pictures (height, width, 3), different for every seed, with some fine grain."""

    def make(height: int, width: int, seed: int) -> Picture:
        generator = np.random.default_rng(seed)
        y, x = np.mgrid[0:height, 0:width]
        result = np.full((height, width, 3), 0.5)
        for _ in range(8):
            fy, fx, phase = generator.uniform(-0.4, 0.4, 3)
            wave = np.sin(fy * y + fx * x + 20 * phase)
            result += wave[..., None] * generator.uniform(-0.12, 0.12, 3)
        result += generator.normal(0, 0.02, result.shape)
        clipped: Picture = np.clip(result, 0, 1).astype(np.float32)
        return clipped

    return make


@pytest.fixture(scope="session")
def settings() -> Callable[..., SolverSettings]:
    """The job file's default settings with some of them replaced."""

    def make(**changes: Any) -> SolverSettings:
        defaults: dict[str, Any] = {
            "network": "vgg19",
            "pooling": "max",
            "precision": "float32",
            "content_layers": (("relu4_2", 1.0),),
            "style_layers": tuple((f"relu{block}_1", 1.0) for block in range(1, 6)),
            "content_weight": 1.0,
            "style_weight": 1.0,
            "tv_weight": 0.0,
            "history": 20,
        }
        return SolverSettings(**(defaults | changes))

    return make
