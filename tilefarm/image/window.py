"""Windows into raw canvases: headerless float32 files of shape (height, width, 3), C order, RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tilefarm.errors import TilefarmError
from tilefarm.files import telling_when_full
from tilefarm.geometry import Box, Size

CHANNELS = 3
RAW_DTYPE = np.dtype("<f4")

_ROWS = 256
"""Of a band: what `copy_window` has in memory at a time."""

RawCanvas = np.memmap[Any, np.dtype[np.float32]]


def raw_bytes(size: Size, channels: int = CHANNELS) -> int:
    """The length in bytes of a raw canvas."""
    return size.pixels * channels * RAW_DTYPE.itemsize


def open_raw(path: Path, size: Size, mode: Literal["r", "r+"] = "r", channels: int = CHANNELS) -> RawCanvas:
    """Map a raw canvas into memory, shape (height, width, channels), float32.

    Raises TilefarmError where the file is missing or its length is not that of such a canvas.
    """
    try:
        found = path.stat().st_size
    except FileNotFoundError as error:
        raise TilefarmError(f"the canvas {path} is missing; submit the job again to rebuild it") from error
    if found != raw_bytes(size, channels):
        raise TilefarmError(
            f"the canvas {path} must have {raw_bytes(size, channels)} bytes for {size} pixels, got {found}; "
            "remove the run folder and submit the job again"
        )
    return np.memmap(path, dtype=RAW_DTYPE, mode=mode, shape=(size.height, size.width, channels))


def copy_window(source: Path, size: Size, box: Box, target: Path) -> None:
    """Write the window `box` of the endlessly reflected raw canvas `source` as a raw canvas, band by band.

    Raises ResourceError where the disk is full.
    """
    picture = open_raw(source, size)
    with telling_when_full(target), target.open("wb") as file:
        for top in range(box.top, box.bottom, _ROWS):
            bottom = min(top + _ROWS, box.bottom)
            file.write(read_window(picture, Box(box.left, top, box.right, bottom)).data)


def reflect_indices(start: int, stop: int, length: int) -> NDArray[np.int64]:
    """The samples at positions start..stop-1 of 0..length-1 reflected without end on both sides.

    The border sample is not repeated (numpy calls this mode "reflect"): ... 2 1 0 1 2 ... A single
    sample is constant. Shape (stop - start,), values in 0..length-1.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    positions = np.arange(start, stop, dtype=np.int64)
    if length == 1:
        return np.zeros_like(positions)
    period = 2 * (length - 1)
    positions %= period
    return np.minimum(positions, period - positions)


def read_window(picture: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """A contiguous copy of the window `box` of the endlessly reflected picture.

    `picture` has shape (height, width, channels) and may be a memory map: only the rows and columns that
    the window shows are read. The result has shape (box.height, box.width, channels).
    """
    height, width = picture.shape[:2]
    if box.left >= 0 and box.top >= 0 and box.right <= width and box.bottom <= height:
        inside = picture[box.top : box.bottom, box.left : box.right]
        return np.array(inside, dtype=np.float32, order="C", subok=False)
    rows = reflect_indices(box.top, box.bottom, height)
    columns = reflect_indices(box.left, box.right, width)
    return np.ascontiguousarray(np.asarray(picture)[np.ix_(rows, columns)], dtype=np.float32)
