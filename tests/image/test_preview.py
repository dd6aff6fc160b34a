"""Previews as Pillow sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tilefarm.geometry import Size
from tilefarm.image.preview import write_preview


def test_values_are_clipped_and_rounded(tmp_path: Path) -> None:
    values = np.linspace(-0.5, 1.5, 6 * 8 * 3).reshape(6, 8, 3).astype("<f4")
    values.tofile(tmp_path / "canvas.raw")
    write_preview(tmp_path / "canvas.raw", Size(8, 6), tmp_path / "preview.png")
    with Image.open(tmp_path / "preview.png") as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(image), np.rint(values.clip(0, 1) * 255))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canvas.raw", "preview.png"]


def test_large_canvases_are_shrunk(tmp_path: Path) -> None:
    np.full((100, 400, 3), 0.2, "<f4").tofile(tmp_path / "canvas.raw")
    write_preview(tmp_path / "canvas.raw", Size(400, 100), tmp_path / "preview.png", long_side=64)
    with Image.open(tmp_path / "preview.png") as image:
        assert image.size == (64, 16)
        assert image.getextrema() == ((51, 51),) * 3


def test_values_far_outside_do_not_bleed(tmp_path: Path) -> None:
    values = np.zeros((64, 64, 3), "<f4")
    values[32:, :] = 1
    values[0, 0] = 1e6
    values.tofile(tmp_path / "canvas.raw")
    write_preview(tmp_path / "canvas.raw", Size(64, 64), tmp_path / "preview.png", long_side=16)
    with Image.open(tmp_path / "preview.png") as image:
        assert np.asarray(image)[:2, 3:].max() == 0
