"""Masks at a level's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tilefarm.image.regions
from tilefarm.geometry import Box, Size, View
from tilefarm.image.decode import inspect
from tilefarm.image.regions import RawRegions, write_regions


def save(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


def read(regions: RawRegions, size: Size) -> np.ndarray:
    return regions.window(size, Box.of(size))


def test_values_are_shares_and_the_rest_takes_what_is_left(tmp_path: Path) -> None:
    grey = np.tile(np.array([[0, 51, 128, 255]]), (3, 1))
    mask = inspect(save(tmp_path / "mask.png", grey), "mask")
    size = Size(4, 3)
    regions = write_regions(
        [mask, None], [View.filling(Box.of(size), size)] * 2, size, tmp_path / "regions.f32"
    )
    found = read(regions, size)
    np.testing.assert_allclose(found[0, :, 0], np.array([0, 51, 128, 255]) / 255, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-6)
    assert regions.areas(size) == pytest.approx((434 / 1020, 586 / 1020))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.png", "regions.f32"]


def test_overlapping_masks_share_a_pixel_in_proportion(tmp_path: Path) -> None:
    masks = [
        inspect(save(tmp_path / f"{number}.png", np.full((2, 2), value)), "mask")
        for number, value in enumerate((255, 128))
    ]
    size = Size(2, 2)
    found = read(
        write_regions([*masks, None], [View.filling(Box.of(size), size)] * 3, size, tmp_path / "regions.f32"),
        size,
    )
    np.testing.assert_allclose(found[0, 0], [255 / 383, 128 / 383, 0], atol=1e-6)


def test_only_the_part_over_the_picture_counts(tmp_path: Path) -> None:
    values = np.zeros((20, 40))
    values[:, 30:] = 255
    mask = inspect(save(tmp_path / "mask.png", values), "mask")
    size = Size(10, 20)
    regions = write_regions([mask], [View.filling(Box(30, 0, 40, 20), size)], size, tmp_path / "regions.f32")
    np.testing.assert_allclose(read(regions, size), 1)


@settings(max_examples=15, deadline=None)
@given(width=st.integers(1, 40), height=st.integers(1, 40), band=st.integers(1, 200))
def test_bands_do_not_show(
    width: int, height: int, band: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("regions")
    values = np.random.default_rng(0).integers(0, 256, (13, 17))
    mask, size = inspect(save(folder / "mask.png", values), "mask"), Size(width, height)
    parts, views = [mask, None], [View.filling(Box.of(mask.size), size)] * 2
    whole = read(write_regions(parts, views, size, folder / "whole.f32"), size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tilefarm.image.regions, "_VALUES_PER_BAND", band)
        banded = write_regions(parts, views, size, folder / "banded.f32")
        np.testing.assert_array_equal(read(banded, size), whole)
        assert sum(banded.areas(size)) == pytest.approx(1, abs=1e-5)
