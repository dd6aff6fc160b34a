"""Pictures on their way: the same bits again, or errors within the bounds that are documented."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tests.exactness import smooth_picture
from tilefarm.solve.coding import PackedPicture, coded_gradient, coded_pixels, decoded
from tilefarm.solve.contract import Picture
from tilefarm.solve.traffic import array_bytes

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda shape: (*shape, 3))
ANY_BITS = SHAPES.flatmap(lambda shape: arrays(np.uint32, shape)).map(lambda bits: bits.view(np.float32))
"""All floats: subnormal, infinite, and every NaN."""


def values(largest: float) -> st.SearchStrategy[Picture]:
    numbers = st.floats(-largest, largest, width=32)
    return SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=numbers))


@given(ANY_BITS)
def test_packing_gives_back_every_bit(picture: Picture) -> None:
    for coded in (coded_pixels(picture, "packed"), coded_gradient(picture, "packed")):
        found = decoded(coded)
        assert found.shape == picture.shape
        assert found.dtype == np.float32
        assert found.tobytes() == picture.tobytes()


def test_packing_takes_a_window_of_a_larger_picture() -> None:
    window = smooth_picture(40, 30, 1)[3:20, 5:31]
    assert decoded(coded_pixels(window, "packed")).tobytes() == window.tobytes()


def test_as_they_are_nothing_is_copied() -> None:
    picture = smooth_picture(8, 6, 1)
    assert decoded(coded_gradient(coded_pixels(picture, "float32"), "float32")) is picture  # type: ignore[arg-type]


@given(values(1.875))
def test_half_the_bytes_keep_pixels_to_a_part_in_32768(picture: Picture) -> None:
    found = decoded(coded_pixels(picture, "half"))
    assert found.dtype == np.float32
    assert np.abs(found - picture).max() <= 2**-15
    np.testing.assert_array_equal(found * 2**14, np.rint(found * 2**14))


@given(values(2.0**127))
def test_pixels_far_out_of_range_are_coarser_and_not_clipped(picture: Picture) -> None:
    found = decoded(coded_pixels(picture, "half"))
    largest = float(np.abs(picture).max())
    assert np.abs(found.astype(np.float64) - picture).max() <= max(2**-15, largest * 2**-15)


@given(values(1.0), st.integers(-100, 126))
def test_half_the_bytes_keep_gradients_of_any_size(picture: Picture, exponent: int) -> None:
    gradient = np.ldexp(picture, exponent)
    found = decoded(coded_gradient(gradient, "half"))
    largest = float(np.abs(gradient).max())
    allowed = np.maximum(np.abs(gradient.astype(np.float64)) * 2**-11, largest * 2**-38)
    assert (np.abs(found.astype(np.float64) - gradient) <= np.maximum(allowed, 2**-149)).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_gradients_that_are_not_finite_stay_so(wrong: float) -> None:
    gradient = np.full((4, 5, 3), 1e9, np.float32)
    gradient[1, 2, 0] = wrong
    assert not np.isfinite(decoded(coded_gradient(gradient, "half"))).all()


def test_the_sizes_on_the_way() -> None:
    """A pixel's upper byte takes at most 3 bits, a gradient's at most 4, where 8 are as it is."""
    picture = smooth_picture(200, 150, 2)
    gradient = (np.random.default_rng(3).standard_t(3, picture.shape) * 1e-4).astype(np.float32)
    size = picture.size
    assert (
        array_bytes(coded_pixels(picture, "half"))
        == array_bytes(coded_gradient(gradient, "half"))
        == 2 * size
    )
    for coded, bits in ((coded_pixels(picture, "packed"), 3), (coded_gradient(gradient, "packed"), 4)):
        assert isinstance(coded, PackedPicture)
        assert 3 * size < array_bytes(coded) < (3 + bits / 8) * size
