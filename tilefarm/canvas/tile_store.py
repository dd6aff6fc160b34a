"""Finished tiles on disk, one slot each: together with the journal the truth of a round.

The canvas can always be made again from the slots, so a crash while blending loses nothing.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilefarm import faults
from tilefarm.files import reserve
from tilefarm.geometry import Size

CHANNELS = 3
_ITEM = np.dtype("<f4").itemsize


class TileStore:
    """A file of `count` slots, each of `planes` float32 pictures of shape (height, width, 3): a tile and
    what belongs to it."""

    def __init__(self, path: Path, tile: Size, count: int, planes: int = 1) -> None:
        self.path = path
        self.tile = tile
        self.count = count
        self._row_bytes = tile.width * CHANNELS * _ITEM
        self._planes = planes
        self._plane_bytes = tile.height * self._row_bytes
        self._slot_bytes = planes * self._plane_bytes
        reserve(path, count * self._slot_bytes)
        faults.reached("tiles: reserved")
        self._descriptor = os.open(path, os.O_RDWR)

    def write(self, pictures: Mapping[int, NDArray[np.float32]]) -> dict[int, int]:
        """Put tiles into their slots, wait once until all are durable, and return their CRC-32 by slot.

        A picture has the shape (height, width, 3), several planes (planes, height, width, 3).
        """
        crcs = {index: self._put(index, picture) for index, picture in pictures.items()}
        faults.reached("tiles: written")
        os.fdatasync(self._descriptor) if hasattr(os, "fdatasync") else os.fsync(self._descriptor)
        faults.reached("tiles: synced")
        return crcs

    def read(
        self, index: int, start: int = 0, stop: int | None = None, plane: int = 0
    ) -> NDArray[np.float32]:
        """Rows start..stop-1 of a tile's plane, shape (rows, width, 3)."""
        stop = self.tile.height if stop is None else stop
        length = (stop - start) * self._row_bytes
        data = os.pread(self._descriptor, length, self._offset(index, plane) + start * self._row_bytes)
        return np.frombuffer(data, dtype="<f4").reshape(stop - start, self.tile.width, CHANNELS)

    def holds(self, index: int, crc: int) -> bool:
        """Whether the slot's bytes have this CRC-32."""
        found = 0
        for plane in range(self._planes):
            found = zlib.crc32(self.read(index, plane=plane).tobytes(), found)
        return found == crc

    def close(self) -> None:
        """Close the file; it stays on disk."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> TileStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _offset(self, index: int, plane: int = 0) -> int:
        if not 0 <= index < self.count:
            raise IndexError(f"tile {index} of {self.count}")
        return index * self._slot_bytes + plane * self._plane_bytes

    def _put(self, index: int, picture: NDArray[np.float32]) -> int:
        expected: tuple[int, ...] = (self.tile.height, self.tile.width, CHANNELS)
        if self._planes > 1:
            expected = (self._planes, *expected)
        if picture.shape != expected:
            raise ValueError(f"tile {index} must have shape {expected}, got {picture.shape}")
        data = np.ascontiguousarray(picture, dtype="<f4").reshape(-1).view(np.uint8).data
        view, offset = data, self._offset(index)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view = view[written:]
            offset += written
        return zlib.crc32(data)
