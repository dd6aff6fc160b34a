"""Blending: the exact feathered sum, for any size, whatever happened before."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tilefarm.canvas.blend import blend
from tilefarm.canvas.tile_store import TileStore
from tilefarm.errors import TilefarmError
from tilefarm.files import reserve
from tilefarm.geometry import Size
from tilefarm.image.window import raw_bytes, read_window
from tilefarm.plan.grid import Grid

Picture = NDArray[np.float32]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Any size up to 150 px and any even tile, of at most some 200 tiles."""
    half = draw(st.integers(1, 80))
    longest = min(150, 12 * half)
    size = Size(draw(st.integers(1, longest)), draw(st.integers(1, longest)))
    return Grid.of(size, 2 * half)


def random_pictures(seed: int, shape: tuple[int, ...]) -> Picture:
    return np.random.default_rng(seed).normal(0.5, 0.5, shape).astype(np.float32)


def blended(grid: Grid, tiles: Iterable[tuple[int, Picture]], before: bytes | None = None) -> Picture:
    """The canvas after these tiles were written to their slots, in this order, and blended."""
    with TemporaryDirectory() as folder:
        canvas = Path(folder) / "canvas"
        if before is None:
            reserve(canvas, raw_bytes(grid.level))
        else:
            canvas.write_bytes(before)
        with TileStore(Path(folder) / "tiles", grid.tile, grid.tiles) as store:
            for index, tile in tiles:
                store.write({index: tile})
            crc = blend(store, grid, canvas)
        data = canvas.read_bytes()
    assert crc == zlib.crc32(data)
    return np.frombuffer(data, "<f4").reshape(grid.level.height, grid.level.width, 3)


def naive(grid: Grid, tiles: Picture) -> NDArray[np.float64]:
    """All tiles times their ramps, added on one large padded canvas in float64, then cropped."""

    def ramp(tile: int, count: int) -> NDArray[np.float64]:
        centres = np.arange(tile) + 0.5
        return np.ones(tile) if count == 1 else 1 - np.abs(centres - tile / 2) / (tile / 2)

    weights = np.outer(ramp(grid.tile.height, grid.y.count), ramp(grid.tile.width, grid.x.count))
    origin = grid.box(0)
    far = grid.box(grid.tiles - 1)
    padded = np.zeros((far.bottom - origin.top, far.right - origin.left, 3))
    for index in range(grid.tiles):
        box = grid.box(index)
        rows = slice(box.top - origin.top, box.bottom - origin.top)
        columns = slice(box.left - origin.left, box.right - origin.left)
        padded[rows, columns] += weights[:, :, np.newaxis] * tiles[index]
    return padded[-origin.top :, -origin.left :][: grid.level.height, : grid.level.width]


@settings(deadline=None)
@given(grids(), st.integers(0, 2**32 - 1))
def test_tiles_that_nobody_changed_give_the_picture_back(grid: Grid, seed: int) -> None:
    picture = random_pictures(seed, (grid.level.height, grid.level.width, 3))
    result = blended(grid, ((index, read_window(picture, grid.box(index))) for index in range(grid.tiles)))
    np.testing.assert_allclose(result, picture, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [Size(1, 1), Size(1, 150), Size(150, 1), Size(64, 64), Size(65, 64)])
@pytest.mark.parametrize("tile", [20, 64])
def test_corner_cases_give_the_picture_back(size: Size, tile: int) -> None:
    grid = Grid.of(size, tile)
    picture = random_pictures(1, (size.height, size.width, 3))
    result = blended(grid, ((index, read_window(picture, grid.box(index))) for index in range(grid.tiles)))
    np.testing.assert_allclose(result, picture, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(grids(), st.integers(0, 2**32 - 1))
def test_different_tiles_are_added_with_their_ramps(grid: Grid, seed: int) -> None:
    tiles = random_pictures(seed, (grid.tiles, grid.tile.height, grid.tile.width, 3))
    np.testing.assert_allclose(blended(grid, enumerate(tiles)), naive(grid, tiles), rtol=0, atol=2e-6)


def test_a_tile_counts_at_its_own_place_only() -> None:
    grid = Grid.of(Size(30, 22), 8)
    for chosen in range(grid.tiles):
        tiles = np.zeros((grid.tiles, 8, 8, 3), dtype=np.float32)
        tiles[chosen] = 1
        touched = blended(grid, enumerate(tiles)) != 0
        box = grid.box(chosen)
        expected = np.zeros_like(touched)
        expected[max(0, box.top) : max(0, box.bottom), max(0, box.left) : max(0, box.right)] = True
        np.testing.assert_array_equal(touched, expected)


@settings(deadline=None, max_examples=30)
@given(grids(), st.integers(0, 2**32 - 1))
def test_the_order_in_which_tiles_were_finished_changes_no_bit(grid: Grid, seed: int) -> None:
    tiles = random_pictures(seed, (grid.tiles, grid.tile.height, grid.tile.width, 3))
    arrival = list(enumerate(tiles))
    random.Random(seed).shuffle(arrival)
    assert blended(grid, arrival).tobytes() == blended(grid, enumerate(tiles)).tobytes()


@settings(deadline=None, max_examples=30)
@given(grids(), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_half_written_or_damaged_canvas_does_not_shine_through(grid: Grid, seed: int, share: float) -> None:
    tiles = random_pictures(seed, (grid.tiles, grid.tile.height, grid.tile.width, 3))
    clean = blended(grid, enumerate(tiles)).tobytes()
    kept = round(len(clean) * share)
    damaged = clean[:kept] + b"\xff" * (len(clean) - kept)  # bytes 0xff are NaN
    assert blended(grid, enumerate(tiles), before=damaged).tobytes() == clean


def test_a_blend_killed_halfway_can_be_repeated(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from tilefarm.canvas.blend import blend
from tilefarm.canvas.tile_store import TileStore
from tilefarm.geometry import Size
from tilefarm.plan.grid import Grid

class Stopping(TileStore):
    reads = 0
    def read(self, *args):
        self.reads += 1
        if self.reads == 40:
            print("half", flush=True)
            sys.stdin.read()
        return super().read(*args)

grid = Grid.of(Size(70, 50), 16)
blend(Stopping(Path(sys.argv[1]), grid.tile, grid.tiles), grid, Path(sys.argv[2]))
"""
    grid = Grid.of(Size(70, 50), 16)
    tiles = random_pictures(5, (grid.tiles, 16, 16, 3))
    slots, canvas = tmp_path / "tiles", tmp_path / "canvas"
    clean = blended(grid, enumerate(tiles)).tobytes()
    canvas.write_bytes(b"\xff" * raw_bytes(grid.level))
    with TileStore(slots, grid.tile, grid.tiles) as store:
        for index, tile in enumerate(tiles):
            store.write({index: tile})
        with subprocess.Popen(
            [sys.executable, "-c", program, str(slots), str(canvas)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"half\n"
            process.kill()
        assert process.returncode == -signal.SIGKILL
        left = canvas.read_bytes()
        assert left != clean
        assert left[:840] == clean[:840], "the kill came too early: not one band was written"
        blend(store, grid, canvas)
    assert canvas.read_bytes() == clean


def test_each_band_is_written_once_and_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum that grew in the canvas itself would be visible in between."""
    grid = Grid.of(Size(40, 40), 16)
    tiles = random_pictures(7, (grid.tiles, 16, 16, 3))
    clean = blended(grid, enumerate(tiles)).reshape(40, -1)
    canvas = tmp_path / "canvas"
    canvas.write_bytes(b"\xff" * raw_bytes(grid.level))
    seen: list[int] = []
    real = TileStore.read

    def read(self: TileStore, index: int, start: int = 0, stop: int | None = None, plane: int = 0) -> Picture:
        now = np.fromfile(canvas, "<f4").reshape(40, -1)
        finished = int((now == clean).all(axis=1).sum())
        assert np.isnan(now[finished:]).all()
        np.testing.assert_array_equal(now[:finished], clean[:finished])
        seen.append(finished)
        return real(self, index, start, stop, plane)

    monkeypatch.setattr(TileStore, "read", read)
    with TileStore(tmp_path / "tiles", grid.tile, grid.tiles) as store:
        for index, tile in enumerate(tiles):
            store.write({index: tile})
        blend(store, grid, canvas)
    assert [rows for rows, _ in itertools.groupby(seen)] == [stop for _, stop, _ in _shifted(grid)]


def test_a_canvas_of_another_length_is_left_alone(tmp_path: Path) -> None:
    grid = Grid.of(Size(40, 40), 16)
    canvas = tmp_path / "canvas"
    canvas.write_bytes(bytes(100))
    with (
        TileStore(tmp_path / "tiles", grid.tile, grid.tiles) as store,
        pytest.raises(TilefarmError, match="must have 19200 bytes for 40x40 pixels, got 100"),
    ):
        blend(store, grid, canvas)
    assert canvas.read_bytes() == bytes(100)


def test_a_disk_that_becomes_full_is_told(tmp_path: Path) -> None:
    """A file system that writes elsewhere than it reserved may be full in spite of that."""
    program = """
import resource, sys
from pathlib import Path
from tilefarm.canvas.blend import blend
from tilefarm.canvas.tile_store import TileStore
from tilefarm.errors import ResourceError
from tilefarm.geometry import Size
from tilefarm.plan.grid import Grid

grid = Grid.of(Size(40, 40), 16)
with TileStore(Path(sys.argv[1]), grid.tile, grid.tiles) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    try:
        blend(store, grid, Path(sys.argv[2]))
    except ResourceError as error:
        print(error)
"""
    canvas = tmp_path / "canvas"
    canvas.write_bytes(bytes(40 * 40 * 12))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "tiles"), str(canvas)],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = f"the disk became full while {canvas} was written; free some space and start it again"
    assert done.stdout.strip() == expected


def _shifted(grid: Grid) -> list[tuple[int, int, range]]:
    """Rows that are finished while each band is added up: none, then the first band's, ..."""
    bands = list(grid.y.bands())
    return [(0, 0, range(0)), *bands[:-1]]
