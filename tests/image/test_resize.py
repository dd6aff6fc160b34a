"""Resizing: exact sizes, pixel centres where they belong, nothing clipped, nothing left behind."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tilefarm.errors import JobError, ResourceError
from tilefarm.geometry import Box, Size
from tilefarm.image.decode import inspect
from tilefarm.image.resize import enlarge, write_content
from tilefarm.image.window import open_raw

PHASE_STEP = 1 / 128
"""libvips rounds a kernel's position to 1/64 of a source pixel."""


def ramp(size: Size) -> NDArray[np.float64]:
    """The plane red = x, green = y, over the unit square, sampled at pixel centres; blue is constant."""
    x = (np.arange(size.width) + 0.5) / size.width
    y = (np.arange(size.height) + 0.5) / size.height
    red, green = np.meshgrid(x, y)
    return np.stack([red, green, np.full_like(red, 0.37)], axis=2)


def enlarged(folder: Path, picture: NDArray[np.floating], size: Size) -> NDArray[np.float32]:
    picture.astype("<f4").tofile(folder / "small.raw")
    height, width = picture.shape[:2]
    enlarge(folder / "small.raw", Size(width, height), folder / "large.raw", size)
    return np.array(open_raw(folder / "large.raw", size))


def content(folder: Path, picture: NDArray[np.uint8], crop: Box, size: Size) -> NDArray[np.float32]:
    Image.fromarray(picture).save(folder / "picture.png")
    write_content(inspect(folder / "picture.png", "content"), crop, size, folder / "content.raw")
    return np.array(open_raw(folder / "content.raw", size))


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """Files may not grow beyond `limit` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (Size(60, 45), Size(120, 90)),
        (Size(59, 47), Size(118, 93)),
        (Size(50, 40), Size(51, 40)),
        (Size(33, 50), Size(200, 301)),
        (Size(40, 30), Size(40, 30)),
    ],
)
def test_an_enlarged_ramp_is_the_same_ramp(tmp_path: Path, small: Size, large: Size) -> None:
    found = enlarged(tmp_path, ramp(small), large)
    border_x, border_y = (
        2 * side // low + 2
        for side, low in zip((large.width, large.height), (small.width, small.height), strict=True)
    )
    error = np.abs(found - ramp(large))[border_y:-border_y, border_x:-border_x]
    assert error[..., 0].max() <= PHASE_STEP / small.width + 1e-6
    assert error[..., 1].max() <= PHASE_STEP / small.height + 1e-6
    np.testing.assert_allclose(found[..., 2], 0.37, atol=1e-7)


def test_doubling_is_catmull_and_roms_cubic(tmp_path: Path) -> None:
    """Keys 1981 with a = -1/2 at phases 1/4 and 3/4."""
    line = np.zeros((1, 16, 3))
    line[0, 8] = 1
    found = enlarged(tmp_path, line, Size(32, 1))[0, :, 0]
    expected = [-0.0234375, -0.0703125, 0.2265625, 0.8671875, 0.8671875, 0.2265625, -0.0703125, -0.0234375]
    np.testing.assert_allclose(found[13:21], expected, atol=1e-6)
    assert np.count_nonzero(found) == 8


def test_nothing_is_clipped(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).normal(0, 50, (20, 30, 3))
    np.testing.assert_array_equal(enlarged(tmp_path, picture, Size(30, 20)), picture.astype(np.float32))
    found = enlarged(tmp_path, picture, Size(90, 60))
    np.testing.assert_allclose(found[1::3, 1::3], picture, rtol=1e-5)  # the centres fall together


@settings(deadline=None, max_examples=30)
@given(
    width=st.integers(1, 9), height=st.integers(1, 9), more_x=st.integers(0, 60), more_y=st.integers(0, 60)
)
def test_a_constant_stays_constant(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, more_x: int, more_y: int
) -> None:
    folder = tmp_path_factory.mktemp("constant")
    picture = np.full((height, width, 3), (-0.5, 0.25, 1.5))
    found = enlarged(folder, picture, Size(width + more_x, height + more_y))
    np.testing.assert_allclose(found, np.broadcast_to(picture[0, 0], found.shape), atol=1e-6)


def test_a_smaller_size_is_no_enlargement(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="9x30 is smaller than 10x20"):
        enlarge(tmp_path / "a", Size(10, 20), tmp_path / "b", Size(9, 30))


@pytest.mark.parametrize("size", [Size(64, 48), Size(61, 47), Size(25, 19), Size(7, 5)])
def test_a_shrunk_ramp_is_the_same_ramp(tmp_path: Path, size: Size) -> None:
    stored = Size(250, 200)
    picture = np.rint(ramp(stored) * 255).astype(np.uint8)
    found = content(tmp_path, picture, Box.of(stored), size)
    inside = slice(3, -3) if size.short_side > 6 else slice(2, -2)
    error = np.abs(found - np.where([True, True, False], ramp(size), picture[0, 0, 2] / 255))
    # A hundredth of a pixel of the result, and the rounding of the 8-bit source.
    assert error[inside, inside].max() <= 0.01 / size.short_side + 0.5 / 255


def test_shrinking_does_not_alias(tmp_path: Path) -> None:
    board = np.indices((160, 160)).sum(axis=0) % 2 * 255
    picture = np.repeat(board.astype(np.uint8)[..., np.newaxis], 3, axis=2)
    found = content(tmp_path, picture, Box(0, 0, 160, 160), Size(50, 50))
    np.testing.assert_allclose(found[3:-3, 3:-3], 0.5, atol=0.02)


def test_shrinking_agrees_with_pillow(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((200, 150), Image.Resampling.BICUBIC))
    found = content(tmp_path, picture, Box(0, 0, 200, 150), Size(80, 60))
    expected = np.asarray(Image.fromarray(picture).resize((80, 60), Image.Resampling.LANCZOS)) / 255
    assert np.abs(found.clip(0, 1) - expected).max() < 0.02
    assert np.abs(found.clip(0, 1) - expected).mean() < 0.003


def test_a_crop_at_its_own_size_is_exact(tmp_path: Path) -> None:
    picture = np.random.default_rng(8).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    found = content(tmp_path, picture, Box(5, 3, 25, 18), Size(20, 15))
    np.testing.assert_allclose(found, picture[3:18, 5:25] / 255, atol=1e-7)


def test_a_crop_outside_the_picture_is_refused(tmp_path: Path) -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(ValueError, match="not inside a picture of 30x20"):
        content(tmp_path, picture, Box(0, 0, 31, 20), Size(5, 5))


@pytest.mark.parametrize("stored", [Size(1, 1), Size(1, 4000), Size(4000, 1), Size(8, 8)])
@pytest.mark.parametrize("size", [Size(1, 1), Size(300, 7), Size(7, 300), Size(500, 400)])
def test_odd_shapes_reach_any_size(tmp_path: Path, stored: Size, size: Size) -> None:
    picture = np.full((stored.height, stored.width, 3), (0, 102, 255), np.uint8)
    found = content(tmp_path, picture, Box.of(stored), size)
    np.testing.assert_allclose(found, np.broadcast_to([0, 0.4, 1], found.shape), atol=1e-5)


def test_a_ramp_keeps_more_than_8_bits(tmp_path: Path) -> None:
    picture = np.repeat(np.arange(256, dtype=np.uint8)[np.newaxis, :, np.newaxis], 3, axis=2)
    found = content(tmp_path, picture, Box(0, 0, 256, 1), Size(4096, 1))
    assert len(np.unique(found[..., 0])) > 3000


def test_only_the_result_is_left(tmp_path: Path) -> None:
    content(tmp_path, np.zeros((4, 5, 3), np.uint8), Box(0, 0, 5, 4), Size(9, 9))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["content.raw", "picture.png"]


def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(tmp_path: Path) -> None:
    np.zeros((8, 8, 3), "<f4").tofile(tmp_path / "small.raw")
    (tmp_path / "large.raw").write_bytes(b"old")
    with small_disk(10_000), pytest.raises(ResourceError, match="disk"):
        enlarge(tmp_path / "small.raw", Size(8, 8), tmp_path / "large.raw", Size(100, 100))
    assert (tmp_path / "large.raw").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.raw", "small.raw"]


def test_a_picture_cut_after_its_inspection_gives_no_canvas(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(path)
    info = inspect(path, "content")
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(JobError, match="changed"):
        write_content(info, Box.of(info.size), Size(40, 40), tmp_path / "content.raw")
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
