"""Luma and chroma, value and saturation, against Pillow's and Python's own conversions."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tilefarm.colour.pixels import (
    Pixels,
    luma,
    value_and_saturation,
    with_chroma_of,
    with_hue_of,
    with_value_and_saturation,
)

unit = arrays(np.float64, (7, 3), elements=st.floats(0, 1, width=32))
wide = arrays(np.float64, (7, 3), elements=st.floats(-1, 2, width=32))


def ycbcr(rgb: Pixels) -> Pixels:
    """BT.601 in full range, as a matrix (JFIF 1.02): the reference."""
    matrix = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    converted: Pixels = rgb @ np.array(matrix).T
    return converted


def test_luma_is_that_of_jpeg() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(pixels).convert("YCbCr"))[..., 0]
    assert (
        np.abs(luma(pixels.reshape(-1, 3) / 255) * 255 - grey.reshape(-1)).max() <= 1.01
    )  # Pillow rounds down


@settings(deadline=None)
@given(picture=wide, content=unit)
def test_luma_of_the_picture_and_hue_of_the_content(picture: Pixels, content: Pixels) -> None:
    result = with_chroma_of(picture, content)
    assert result.min() >= -1e-12
    assert result.max() <= 1 + 1e-12
    np.testing.assert_allclose(luma(result), luma(picture.clip(0, 1)), atol=1e-12)
    found, wanted = ycbcr(result)[:, 1:], ycbcr(content)[:, 1:]
    # Where the colour had to be made weaker, Cb and Cr were so in proportion: their cross product stays 0.
    np.testing.assert_allclose(found[:, 0] * wanted[:, 1], found[:, 1] * wanted[:, 0], atol=3e-6)
    assert (np.linalg.norm(found, axis=1) <= np.linalg.norm(wanted, axis=1) + 2e-6).all()


@settings(deadline=None)
@given(picture=unit, content=unit)
def test_chroma_of_the_content_wherever_it_fits(picture: Pixels, content: Pixels) -> None:
    plain = luma(picture)[:, np.newaxis] + content - luma(content)[:, np.newaxis]
    fits = ((plain >= 0) & (plain <= 1)).all(axis=1)
    np.testing.assert_allclose(with_chroma_of(picture, content)[fits], plain[fits], atol=1e-12)


def test_colour_that_does_not_fit_is_as_strong_as_it_can_be() -> None:
    white_on_red = with_chroma_of(np.array([[0.9, 0.9, 0.9]]), np.array([[1.0, 0, 0]]))
    assert white_on_red.max() == pytest.approx(1)
    assert luma(white_on_red)[0] == pytest.approx(0.9)


@settings(deadline=None)
@given(picture=wide, content=unit)
def test_value_of_the_picture_hue_and_saturation_of_the_content(picture: Pixels, content: Pixels) -> None:
    result = with_hue_of(picture, content)
    for own, other, new in zip(picture.clip(0, 1), content, result, strict=True):
        hue, saturation, _ = colorsys.rgb_to_hsv(*other)
        wanted = colorsys.hsv_to_rgb(hue, saturation, max(own))
        np.testing.assert_allclose(new, wanted, atol=1e-6)


@settings(deadline=None)
@given(rgb=unit, wanted=arrays(np.float64, (7, 2), elements=st.floats(0, 1, width=32)))
def test_value_and_saturation_as_python_has_them(rgb: Pixels, wanted: Pixels) -> None:
    measured = value_and_saturation(rgb)
    changed = with_value_and_saturation(rgb, wanted)
    for pixel, (value, saturation), new, (v, s) in zip(rgb, measured, changed, wanted, strict=True):
        hue, expected_saturation, expected_value = colorsys.rgb_to_hsv(*pixel)
        assert (value, saturation) == pytest.approx((expected_value, expected_saturation), abs=1e-9)
        is_grey = pixel.min() == pixel.max()
        np.testing.assert_allclose(new, colorsys.hsv_to_rgb(hue, 0 if is_grey else s, v), atol=1e-6)
