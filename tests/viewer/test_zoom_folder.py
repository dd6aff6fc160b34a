"""Deep Zoom folders as another reader sees them: Pillow, and the layout's own rules."""

from __future__ import annotations

import math
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tilefarm.geometry import Size
from tilefarm.viewer.zoom_folder import (
    OVERLAP,
    TILE,
    DeepZoom,
    canvas_tiles,
    without_fine_levels,
    write_small_copy,
)

SPACE = "{http://schemas.microsoft.com/deepzoom/2008}"


def canvas(path: Path, size: Size) -> NDArray[np.float32]:
    """A smooth picture, which JPEG keeps closely, some of it outside of 0..1."""
    y, x = np.mgrid[0 : size.height, 0 : size.width]
    across, down = x / max(1, size.width - 1), y / max(1, size.height - 1)
    picture = np.dstack([across * 1.2 - 0.1, down, (across + down) / 2]).astype(np.float32)
    picture.tofile(path)
    return picture


def put_together(zoom: DeepZoom, folder: Path, level: int, size: Size) -> NDArray[np.uint8]:
    """A level from its tiles, and the rules of the layout checked on the way."""
    whole = np.zeros((size.height, size.width, 3), np.uint8)
    columns, rows = math.ceil(size.width / TILE), math.ceil(size.height / TILE)
    place = folder / f"{zoom.name}_files" / str(level)
    assert {path.name for path in place.iterdir()} == {
        f"{column}_{row}.jpg" for column in range(columns) for row in range(rows)
    }
    for column in range(columns):
        for row in range(rows):
            left, top = max(0, column * TILE - OVERLAP), max(0, row * TILE - OVERLAP)
            right = min(size.width, (column + 1) * TILE + OVERLAP)
            bottom = min(size.height, (row + 1) * TILE + OVERLAP)
            with Image.open(place / f"{column}_{row}.jpg") as tile:
                assert tile.size == (right - left, bottom - top)
                whole[top:bottom, left:right] = np.asarray(tile.convert("RGB"))
    return whole


@pytest.mark.parametrize("size", [Size(1, 1), Size(1, 300), Size(700, 1), Size(510, 511), Size(1100, 620)])
def test_tiles_are_the_picture(tmp_path: Path, size: Size) -> None:
    pixels = np.clip(canvas(tmp_path / "c.f32", size), 0, 1) * 255
    zoom = canvas_tiles(tmp_path / "c.f32", size, tmp_path, "result")
    finest = math.ceil(math.log2(size.long_side))
    whole = put_together(zoom, tmp_path, finest, size)
    assert np.abs(whole - pixels).max() <= 5
    for steps in range(1, finest + 1):
        small = Size(math.ceil(size.width / 2**steps), math.ceil(size.height / 2**steps))
        level = put_together(zoom, tmp_path, finest - steps, small)
        height, width = whole.shape[0] // 2, whole.shape[1] // 2  # beyond an odd end libvips repeats it
        if min(height, width) > 30:
            blocks = whole[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean((1, 3))
            assert np.abs(level[:height, :width] - blocks).max() <= 8
        whole = level
    levels = {path.name for path in (tmp_path / "result_files").iterdir()}
    assert levels == {str(level) for level in range(finest + 1)}, "no other file: such would hold a date"


def test_the_dzi_file_says_what_the_viewer_is_told(tmp_path: Path) -> None:
    size = Size(700, 400)
    canvas(tmp_path / "c.f32", size)
    zoom = canvas_tiles(tmp_path / "c.f32", size, tmp_path, "result")
    image = ElementTree.parse(tmp_path / "result.dzi").getroot()
    said = image.find(f"{SPACE}Size")
    assert said is not None
    assert zoom.record("tiles/") == {
        "url": "tiles/result_files/",
        "width": int(said.attrib["Width"]),
        "height": int(said.attrib["Height"]),
        "tile": int(image.attrib["TileSize"]),
        "overlap": int(image.attrib["Overlap"]),
    }
    assert image.attrib["Format"] == "jpg"


@pytest.mark.parametrize("size", [Size(901, 300), Size(64, 64), Size(1, 2049), Size(2048, 3), Size(1030, 7)])
def test_without_its_fine_levels_it_is_a_smaller_picture(tmp_path: Path, size: Size) -> None:
    canvas(tmp_path / "c.f32", size)
    zoom = canvas_tiles(tmp_path / "c.f32", size, tmp_path, "small")
    kept = without_fine_levels(zoom, tmp_path, 100)
    assert not (tmp_path / "small.dzi").exists()  # it speaks of the whole picture
    steps = max(0, math.ceil(math.log2(size.long_side / 100)))
    assert kept.size == Size(math.ceil(size.width / 2**steps), math.ceil(size.height / 2**steps))
    finest = math.ceil(math.log2(kept.size.long_side))
    put_together(kept, tmp_path, finest, kept.size)
    assert {path.name for path in (tmp_path / "small_files").iterdir()} == {
        str(level) for level in range(finest + 1)
    }


@pytest.mark.parametrize(
    "size", [Size(1100, 620), Size(90, 60), Size(1, 700), Size(960, 800), Size(961, 800)]
)
def test_the_small_copy_is_the_picture(tmp_path: Path, size: Size) -> None:
    pixels = np.clip(canvas(tmp_path / "c.f32", size), 0, 1)
    zoom = canvas_tiles(tmp_path / "c.f32", size, tmp_path, "result")
    small = write_small_copy(zoom, tmp_path, tmp_path / "new" / "small.jpg", 480)
    assert small.long_side == min(480, size.long_side)
    with Image.open(tmp_path / "new" / "small.jpg") as image:
        assert image.size == (small.width, small.height)
        found = np.asarray(image.convert("RGB")).astype(float)
    whole = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    wanted = np.asarray(whole.resize((small.width, small.height), Image.Resampling.BOX))
    assert np.abs(found - wanted)[1:-1].max() <= 9
    assert np.abs(found - wanted).mean() < 2


def test_tiles_of_the_small_copy_meet(tmp_path: Path) -> None:
    """Stripes on both sides of the tiles' border at 510 show a shift by a single pixel."""
    size = Size(700, 600)
    stripes = np.zeros((600, 700, 3), np.float32)
    stripes[:, np.arange(700) // 16 % 2 == 1] = 1
    stripes[np.arange(600) // 16 % 2 == 1] *= 0.5
    stripes.tofile(tmp_path / "c.f32")
    zoom = canvas_tiles(tmp_path / "c.f32", size, tmp_path, "result")
    small = write_small_copy(zoom, tmp_path, tmp_path / "small.jpg", 480)
    whole = Image.fromarray((stripes * 255).astype(np.uint8))
    wanted = np.asarray(whole.resize((small.width, small.height), Image.Resampling.LANCZOS)).astype(float)
    with Image.open(tmp_path / "small.jpg") as image:
        assert np.abs(np.asarray(image.convert("RGB")) - wanted).max() < 60


@pytest.mark.parametrize(
    "name", ["a b", "[Q=5]", "new\nline", "emoji \U0001f600", os.fsdecode(b"no\xffutf8")]
)
def test_folders_of_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    canvas(folder / "c.f32", Size(20, 10))
    canvas_tiles(folder / "c.f32", Size(20, 10), folder, "result")
    with Image.open(folder / "result_files" / "5" / "0_0.jpg") as tile:
        assert tile.size == (20, 10)


def test_the_same_canvas_gives_the_same_bytes(tmp_path: Path) -> None:
    size = Size(600, 520)
    canvas(tmp_path / "c.f32", size)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        canvas_tiles(tmp_path / "c.f32", size, tmp_path / name, "result")
    files = [sorted((tmp_path / name).rglob("*.jpg")) for name in ("one", "two")]
    assert len(files[0]) > 10
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
