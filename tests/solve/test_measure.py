from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tilefarm.geometry import Box
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import Picture, SolverSettings, Weights
from tilefarm.solve.measure import measure
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.tasks import Measurement, MeasureTask

Settings = Callable[..., SolverSettings]


def pieces(height: int, width: int, core: int, halo: int) -> list[tuple[Box, Box]]:
    """Crops and their cores in the picture's pixels; an axis's last core may be a single pixel."""
    result = []
    for top in range(0, height, core):
        for left in range(0, width, core):
            right, bottom = min(left + core, width), min(top + core, height)
            crop = Box(
                max(0, left - halo), max(0, top - halo), min(width, right + halo), min(height, bottom + halo)
            )
            inner = Box(left - crop.left, top - crop.top, right - crop.left, bottom - crop.top)
            result.append((crop, inner))
    return result


def measured(
    network: FeatureNetwork, settings: SolverSettings, image: Picture, crop: Box, core: Box, kind: str
) -> Measurement:
    piece = image[crop.top : crop.bottom, crop.left : crop.right]
    return measure(network, settings, MeasureTask(7, piece, core, kind))  # type: ignore[arg-type]


@pytest.mark.parametrize(("height", "width"), [(97, 161), (131, 112), (80, 175)])
def test_sums_over_a_partition_are_those_of_the_whole_picture(
    height: int,
    width: int,
    bundled: Weights,
    settings: Settings,
    picture: Callable[[int, int, int], Picture],
) -> None:
    image = picture(height, width, height)
    chosen = settings()
    network = make_network(chosen, bundled, "cpu")
    everything = Box(0, 0, width, height)
    cut = pieces(height, width, 80, 80)
    assert len(cut) > 1

    whole = measured(network, chosen, image, everything, everything, "style")
    parts = [measured(network, chosen, image, crop, core, "style") for crop, core in cut]
    assert whole.index == 7
    assert whole.positions == {
        f"relu{block}_1": (height >> block - 1) * (width >> block - 1) for block in range(1, 6)
    }
    assert not whole.squares
    for layer, sums in whole.styles.items():
        assert sum(part.positions[layer] for part in parts) == whole.positions[layer]
        total = sum((part.styles[layer].products for part in parts), np.zeros_like(sums.products))
        assert np.linalg.norm(total - sums.products) < 1e-5 * np.linalg.norm(sums.products)

    whole = measured(network, chosen, image, everything, everything, "content")
    parts = [measured(network, chosen, image, crop, core, "content") for crop, core in cut]
    assert not whole.styles
    assert whole.squares["relu4_2"] > 0
    assert sum(part.squares["relu4_2"] for part in parts) == pytest.approx(whole.squares["relu4_2"], rel=1e-5)


def test_products_are_those_of_the_features_in_float64(
    bundled: Weights, settings: Settings, picture: Callable[[int, int, int], Picture]
) -> None:
    import torch

    image = picture(130, 140, 0)  # more positions than one block
    chosen = settings(style_layers=(("relu1_1", 1.0), ("relu5_1", 0.0)))
    network = make_network(chosen, bundled, "cpu")
    found = measured(network, chosen, image, Box(0, 0, 140, 130), Box(0, 0, 140, 130), "style")
    with torch.no_grad():
        features = network.features(torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0), ["relu1_1"])
    rows = features["relu1_1"].double().numpy()[0].reshape(64, -1)
    assert set(found.styles) == {"relu1_1"}
    (products,) = found.styles["relu1_1"].products
    np.testing.assert_allclose(products, rows @ rows.T, rtol=1e-5)
    assert products.dtype == np.float64


def test_a_core_off_the_grid_is_refused(
    bundled: Weights, settings: Settings, picture: Callable[[int, int, int], Picture]
) -> None:
    chosen = settings()
    network = make_network(chosen, bundled, "cpu")
    for core in (Box(8, 0, 32, 32), Box(0, 0, 24, 48), Box(0, 0, 64, 48)):
        with pytest.raises(ValueError, match="multiples of 16"):
            measured(network, chosen, picture(48, 48, 0), Box(0, 0, 48, 48), core, "style")
