"""Symmetric sums on their way: half of the entries, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tilefarm.solve.folding import folded, unfolded
from tilefarm.solve.tasks import LayerSums, PieceSums
from tilefarm.solve.traffic import array_bytes
from tilefarm.solve.whole import WholeSums


def layer_sums(seed: int, regions: int = 2, channels: int = 5) -> LayerSums:
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(regions, channels, 7))
    products = np.einsum("rik,rjk->rij", root, root)
    return LayerSums(generator.random(regions), generator.normal(size=(regions, channels)), products)


@pytest.mark.parametrize("channels", [1, 2, 64, 512])
def test_nothing_is_lost(channels: int) -> None:
    sums = layer_sums(1, channels=channels)
    found = unfolded(folded(sums))
    np.testing.assert_array_equal(found.weights, sums.weights)
    np.testing.assert_array_equal(found.sums, sums.sums)
    np.testing.assert_array_equal(found.products, sums.products)


def test_the_bytes_of_vgg19() -> None:
    layers = {
        str(number): layer_sums(1, 1, channels) for number, channels in enumerate((64, 128, 256, 512, 512))
    }
    full = array_bytes({name: sums.products for name, sums in layers.items()})
    assert full == 8 * 610_304
    assert array_bytes({name: folded(sums).products for name, sums in layers.items()}) == 4 * (610_304 + 1472)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pieces_are_added_in_float64(dtype: type) -> None:
    """The large piece in float32 would swallow the small ones."""
    whole = WholeSums()
    parts = [layer_sums(seed) for seed in range(4)]
    parts[0] = LayerSums(parts[0].weights, parts[0].sums, parts[0].products * 1e9)
    for index, part in enumerate(parts):
        whole.add(PieceSums(index, {}, {"a": folded(part, dtype)}, {}, False, False))
    found = whole.styles()["a"]
    one, two, three, four = (part.products.astype(dtype).astype(np.float64) for part in parts)
    wanted = (one + two) + (three + four)
    assert found.products.dtype == np.float64
    np.testing.assert_array_equal(found.products, wanted)
    np.testing.assert_array_equal(found.products, found.products.transpose(0, 2, 1))
