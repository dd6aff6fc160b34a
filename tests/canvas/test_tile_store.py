"""Tile slots on disk: what was put in comes out, and what was damaged is found."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tilefarm.canvas.tile_store import TileStore
from tilefarm.errors import ResourceError
from tilefarm.geometry import Size

TILE = Size(5, 4)
TILE_BYTES = 5 * 4 * 3 * 4


def tile(seed: int, size: Size = TILE) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(size.height, size.width, 3)).astype(np.float32)


def test_slots_lie_one_after_the_other_as_plain_floats(tmp_path: Path) -> None:
    with TileStore(tmp_path / "tiles", TILE, 3) as store:
        for index in (2, 0, 1):
            assert store.write({index: tile(index)})[index] == zlib.crc32(tile(index).astype("<f4").tobytes())
    assert (tmp_path / "tiles").stat().st_size == 3 * TILE_BYTES
    np.testing.assert_array_equal(
        np.fromfile(tmp_path / "tiles", "<f4").reshape(3, 4, 5, 3), [tile(0), tile(1), tile(2)]
    )


def test_slots_survive_reopening(tmp_path: Path) -> None:
    with TileStore(tmp_path / "tiles", TILE, 2) as store:
        crcs = [store.write({index: tile(index)})[index] for index in range(2)]
    with TileStore(tmp_path / "tiles", TILE, 2) as store:
        for index in range(2):
            assert store.holds(index, crcs[index])
            np.testing.assert_array_equal(store.read(index), tile(index))
        assert not store.holds(0, crcs[1])


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (0, 1), (1, 3), (3, 4)])
def test_rows_of_a_tile(tmp_path: Path, start: int, stop: int) -> None:
    with TileStore(tmp_path / "tiles", TILE, 2) as store:
        store.write({0: tile(0)})
        store.write({1: tile(1)})
        np.testing.assert_array_equal(store.read(1, start, stop), tile(1)[start:stop])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(index=st.integers(0, 2), byte=st.integers(0, TILE_BYTES - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_in_its_slot_and_no_other(
    tmp_path: Path, index: int, byte: int, bit: int
) -> None:
    path = tmp_path / "tiles"
    with TileStore(path, TILE, 3) as store:
        crcs = [store.write({number: tile(number)})[number] for number in range(3)]
        data = bytearray(path.read_bytes())
        data[index * TILE_BYTES + byte] ^= 1 << bit
        path.write_bytes(data)
        assert [store.holds(number, crcs[number]) for number in range(3)] == [n != index for n in range(3)]


def test_a_file_that_lost_its_end_has_lost_that_slot_alone(tmp_path: Path) -> None:
    with TileStore(tmp_path / "tiles", TILE, 2) as store:
        crcs = [store.write({index: tile(index)})[index] for index in range(2)]
    os.truncate(tmp_path / "tiles", 2 * TILE_BYTES - 1)
    with TileStore(tmp_path / "tiles", TILE, 2) as store:
        assert [store.holds(index, crcs[index]) for index in range(2)] == [True, False]


def test_pixels_are_durable_before_their_checksum_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    path = tmp_path / "tiles"
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(path.read_bytes()))
    with TileStore(path, TILE, 1) as store:
        store.write({0: tile(0)})
    assert synced == [tile(0).tobytes()]


def test_tiles_that_are_written_together_are_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    path = tmp_path / "tiles"
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(path.read_bytes()))
    with TileStore(path, TILE, 3) as store:
        crcs = store.write({2: tile(2), 0: tile(0)})
    assert crcs == {index: zlib.crc32(tile(index).tobytes()) for index in (0, 2)}
    assert synced == [tile(0).tobytes() + bytes(TILE_BYTES) + tile(2).tobytes()]


def test_a_system_that_writes_a_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: real(file, bytes(data[:7]), offset))
    with TileStore(tmp_path / "tiles", TILE, 2) as store:
        crc = store.write({1: tile(1)})[1]
        assert store.holds(1, crc)


@pytest.mark.parametrize("index", [-1, 2, 100])
def test_a_slot_that_does_not_exist_is_refused(tmp_path: Path, index: int) -> None:
    with TileStore(tmp_path / "tiles", TILE, 2) as store:
        with pytest.raises(IndexError, match=f"tile {index} of 2"):
            store.write({index: tile(0)})
        with pytest.raises(IndexError, match=f"tile {index} of 2"):
            store.read(index)


def test_a_tile_of_another_shape_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    with TileStore(tmp_path / "tiles", TILE, 1) as store:
        crc = store.write({0: tile(0)})[0]
        with pytest.raises(ValueError, match=r"tile 0 must have shape \(4, 5, 3\), got \(5, 4, 3\)"):
            store.write({0: tile(1, Size(4, 5))})
        assert store.holds(0, crc)


def test_views_and_transposed_tiles_are_stored_by_their_values(tmp_path: Path) -> None:
    turned = tile(0, Size(4, 5)).swapaxes(0, 1)
    with TileStore(tmp_path / "tiles", TILE, 1) as store:
        store.write({0: turned})
        np.testing.assert_array_equal(store.read(0), turned)


def test_a_full_disk_is_told_before_the_first_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ResourceError, match="free some space and start it again"):
        TileStore(tmp_path / "tiles", TILE, 2)


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    store = TileStore(tmp_path / "tiles", TILE, 1)
    store.close()
    store.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        store.read(0)
