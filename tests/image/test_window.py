"""Reflected windows and raw canvases against numpy's own padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.errors import TilefarmError
from tilefarm.geometry import Box, Size
from tilefarm.image.window import copy_window, open_raw, raw_bytes, read_window, reflect_indices


@settings(deadline=None)
@given(length=st.integers(1, 12), before=st.integers(0, 40), after=st.integers(0, 40))
def test_reflection_is_numpys(length: int, before: int, after: int) -> None:
    expected = np.pad(np.arange(length), (before, after), mode="reflect")
    np.testing.assert_array_equal(reflect_indices(-before, length + after, length), expected)


def test_a_reflection_far_away_stays_inside() -> None:
    found = reflect_indices(10**12, 10**12 + 5, 7)
    # 10**12 mod 12 is 4, and the positions go on from there.
    np.testing.assert_array_equal(found, [4, 5, 6, 5, 4])


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        reflect_indices(0, 3, 0)


@settings(deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    left=st.integers(-20, 20),
    top=st.integers(-20, 20),
    box_width=st.integers(1, 15),
    box_height=st.integers(1, 15),
)
def test_a_window_is_cut_from_the_padded_picture(
    height: int, width: int, left: int, top: int, box_width: int, box_height: int
) -> None:
    picture = np.random.default_rng(0).normal(size=(height, width, 3)).astype(np.float32)
    margin = 40
    padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    expected = padded[margin + top :, margin + left :][:box_height, :box_width]
    window = read_window(picture, Box(left, top, left + box_width, top + box_height))
    np.testing.assert_array_equal(window, expected)
    assert window.flags.c_contiguous
    assert window.dtype == np.float32


@pytest.mark.parametrize("box", [Box(1, 1, 3, 2), Box(-3, -3, 8, 8)])
def test_a_window_is_a_plain_copy(tmp_path: Path, box: Box) -> None:
    path = tmp_path / "canvas.raw"
    np.arange(60, dtype="<f4").tofile(path)
    canvas = open_raw(path, Size(5, 4), "r+")
    window = read_window(canvas, box)
    assert type(window) is np.ndarray
    assert not np.shares_memory(window, canvas)
    before = window.copy()
    canvas[:] = -1
    np.testing.assert_array_equal(window, before)


def test_a_canvas_is_rows_of_rgb(tmp_path: Path) -> None:
    path = tmp_path / "canvas.raw"
    values = np.arange(2 * 3 * 3, dtype="<f4").reshape(2, 3, 3)
    path.write_bytes(values.tobytes())
    np.testing.assert_array_equal(open_raw(path, Size(3, 2)), values)


def test_writing_needs_the_right_mode(tmp_path: Path) -> None:
    path = tmp_path / "canvas.raw"
    path.write_bytes(bytes(raw_bytes(Size(3, 2))))
    with pytest.raises(ValueError, match="read-only"):
        open_raw(path, Size(3, 2))[0] = 1
    writable = open_raw(path, Size(3, 2), "r+")
    writable[1, 2, 0] = 5
    writable.flush()
    assert np.fromfile(path, "<f4")[15] == 5


@pytest.mark.parametrize("length", [0, 71, 73, 144])
def test_a_canvas_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "canvas.raw"
    path.write_bytes(bytes(length))
    with pytest.raises(TilefarmError, match=f"must have 72 bytes for 3x2 pixels, got {length}"):
        open_raw(path, Size(3, 2))


def test_a_missing_canvas_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TilefarmError, match=r"none\.raw is missing"):
        open_raw(tmp_path / "none.raw", Size(3, 2))


@given(st.integers(1, 12), st.integers(1, 700), st.integers(-20, 20), st.integers(-20, 20))
@settings(deadline=None, max_examples=30)
def test_a_copied_window_is_the_window(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, left: int, top: int
) -> None:
    folder = tmp_path_factory.mktemp("copy")
    size, box = Size(width, height), Box(left, top, left + 9, top + 600)
    picture = np.random.default_rng(1).random((height, width, 3), dtype=np.float32)
    picture.tofile(folder / "source.f32")
    copy_window(folder / "source.f32", size, box, folder / "target.f32")
    np.testing.assert_array_equal(open_raw(folder / "target.f32", box.size), read_window(picture, box))
