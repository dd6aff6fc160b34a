"""EXIF orientation 1 to 8: whole pictures and crops, against Pillow's own transposition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tilefarm.geometry import Box, Size
from tilefarm.image import orientation as module
from tilefarm.image.decode import inspect, open_srgb
from tilefarm.image.orientation import ORIENTATIONS, orient_raw
from tilefarm.image.resize import write_content
from tilefarm.image.window import open_raw

STORED = Size(7, 5)


def oriented_file(folder: Path, value: int) -> Path:
    pixels = np.random.default_rng(4).integers(0, 256, (STORED.height, STORED.width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = value
    path = folder / f"turned{value}.png"
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("value", range(1, 9))
def test_the_upright_picture(tmp_path: Path, value: int) -> None:
    path = oriented_file(tmp_path, value)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image)) / 255
    info = inspect(path, "content")
    assert (info.size.height, info.size.width) == expected.shape[:2]
    np.testing.assert_allclose(open_srgb(info).numpy(), expected, atol=1e-6)

    target = tmp_path / "whole.raw"
    write_content(info, Box.of(info.size), info.size, target)
    np.testing.assert_allclose(open_raw(target, info.size), expected, atol=1e-6)

    crop = Box(1, 2, 4, 5)
    write_content(info, crop, crop.size, target)
    np.testing.assert_allclose(open_raw(target, crop.size), expected[2:5, 1:4], atol=1e-6)


@pytest.mark.parametrize("value", [0, 9, 1000])
def test_a_value_without_meaning_counts_as_upright(tmp_path: Path, value: int) -> None:
    assert inspect(oriented_file(tmp_path, value), "content").size == STORED


@pytest.mark.parametrize("value", [5, 6, 7, 8])
def test_turned_and_resized_on_each_axis(tmp_path: Path, value: int) -> None:
    """One axis shrinks and the other grows: a horizontal ramp must still be one along the right axis."""
    ramp = np.repeat(np.linspace(0, 255, 40).astype(np.uint8)[np.newaxis, :], 30, axis=0)
    image = Image.fromarray(ramp)
    exif = image.getexif()
    exif[0x0112] = value
    image.save(tmp_path / "ramp.png", exif=exif)
    info = inspect(tmp_path / "ramp.png", "content")
    assert info.size == Size(30, 40)
    size = Size(61, 20)
    write_content(info, Box.of(info.size), size, tmp_path / "ramp.raw")
    found = open_raw(tmp_path / "ramp.raw", size)[..., 0]
    assert np.ptp(found, axis=1).max() < 1e-4
    steps = np.diff(found[2:-2, 0])
    sign = 1 if value in (5, 6) else -1
    np.testing.assert_allclose(steps, sign * 2 / 39, atol=0.006)


@pytest.mark.parametrize("value", range(1, 9))
def test_blocks_do_not_show(tmp_path: Path, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 200)
    picture = np.random.default_rng(5).normal(size=(23, 11, 3)).astype("<f4")
    picture.tofile(tmp_path / "stored.raw")
    orientation = ORIENTATIONS[value]
    orient_raw(tmp_path / "stored.raw", Size(11, 23), orientation, tmp_path / "upright.raw")
    found = open_raw(tmp_path / "upright.raw", orientation.turn(Size(11, 23)))
    np.testing.assert_array_equal(found, orientation.apply(picture))
