"""Deep-zoom tiles: the sizes and numbers that OpenSeadragon asks for, and the picture's own pixels."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tilefarm.geometry import Box, Size
from tilefarm.viewer.zoom_levels import highest_level, level_size, next_coarser
from tilefarm.viewer.zoom_pyramid import SMALL_SIDE, TILE, Pyramid


def decoded(data: bytes | None) -> NDArray[np.float64]:
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.float64) / 255


def waves(size: Size) -> NDArray[np.float32]:
    """A smooth picture, (height, width, 3), that JPEG hardly changes and that has no symmetry."""
    y, x = np.mgrid[0 : size.height, 0 : size.width]
    parts = [np.sin(x / 97 + 0.3), np.cos(y / 71 + x / 300), np.sin((x + 2 * y) / 133)]
    mixed: NDArray[np.float32] = (np.stack(parts, axis=-1) / 2 + 0.5).astype(np.float32)
    return mixed


def pyramid(pixels: NDArray[np.float32]) -> Pyramid:
    height, width = pixels.shape[:2]

    def read(box: Box) -> NDArray[np.float32]:
        assert Box.of(Size(width, height)).right >= box.right
        return np.array(pixels[box.top : box.bottom, box.left : box.right])

    return Pyramid(Size(width, height), read)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_levels_are_numbered_as_deep_zoom_does(width: int, height: int) -> None:
    size = Size(width, height)
    highest = highest_level(size)
    assert level_size(size, highest) == size
    assert level_size(size, 0) == Size(1, 1)
    assert next_coarser(size) == level_size(size, highest - 1)
    assert highest == math.ceil(math.log2(max(width, height)))
    for level in range(highest):
        finer = level_size(size, level + 1)
        assert level_size(size, level) == Size((finer.width + 1) // 2, (finer.height + 1) // 2)


@pytest.mark.parametrize(
    "size", [Size(1, 1), Size(100, 75), Size(257, 256), Size(700, 3), Size(2049, 300), Size(4500, 600)]
)
def test_the_tiles_of_every_level_make_up_the_picture(size: Size) -> None:
    pixels = waves(size)
    made = pyramid(pixels)
    for level in range(highest_level(size) + 1):
        here = level_size(size, level)
        rows = []
        for row in range(-(-here.height // TILE)):
            tiles = [decoded(made.tile(level, column, row)) for column in range(-(-here.width // TILE))]
            rows.append(np.concatenate(tiles, axis=1))
        found = np.concatenate(rows)
        assert found.shape == (here.height, here.width, 3)
        factor = 2 ** (highest_level(size) - level)
        x = np.minimum(np.arange(here.width) * factor + factor // 2, size.width - 1)
        y = np.minimum(np.arange(here.height) * factor + factor // 2, size.height - 1)
        if factor <= 8:
            assert np.abs(found - pixels[np.ix_(y, x)]).mean() < 0.03
        assert abs(found.mean() - pixels.mean()) < 0.25


def test_a_small_level_is_the_mean_of_the_pixels_under_it() -> None:
    generator = np.random.default_rng(3)
    pixels = generator.random((4096, 8, 3), dtype=np.float32)
    means = pixels.reshape(1024, 4, 2, 4, 3).mean(axis=(1, 3))
    made = pyramid(pixels)
    assert SMALL_SIDE == 2048
    low = made._levels[10]  # 1024 high: halved once more than the first level that is kept
    assert np.abs(low / 255 - means).max() < 1.1 / 255


@pytest.mark.parametrize(
    ("level", "column", "row"),
    [(-1, 0, 0), (10, 0, 0), (9, 2, 0), (9, 0, 2), (9, -1, 0), (9, 0, -1), (0, 1, 0)],
)
def test_there_are_no_other_tiles(level: int, column: int, row: int) -> None:
    made = pyramid(waves(Size(400, 300)))
    assert made.tile(9, 1, 1) is not None
    assert made.tile(level, column, row) is None


def test_values_outside_are_clipped_before_they_are_mixed_and_no_number_is_black() -> None:
    pixels = np.full((2, 4, 3), 0.5, dtype=np.float32)
    pixels[:, 0], pixels[:, 1], pixels[0, 2] = 9, 0, np.nan
    made = pyramid(pixels)
    assert made._levels[1][0, 0].tolist() == [128] * 3
    assert made._levels[2][0, 2].tolist() == [0] * 3
