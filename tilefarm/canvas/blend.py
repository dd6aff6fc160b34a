"""Blending: the feathered sum of a round's tiles, streamed from the slots into the canvas."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilefarm import faults
from tilefarm.canvas.tile_store import CHANNELS, TileStore
from tilefarm.files import sync_file, telling_when_full
from tilefarm.image.window import open_raw
from tilefarm.plan.grid import Grid

STRIP = 64
"""Rows that are summed at a time: their part of a tile stays in the processor's cache."""


def blend(store: TileStore, grid: Grid, canvas: Path, plane: int = 0) -> int:
    """Replace the canvas by the weighted sum of a plane of all tiles; returns the canvas file's CRC-32.

    The canvas must exist (`files.reserve`). It is written strip by strip, each once and complete, with
    tiles added in grid order, so that the result does not depend on the order in which tiles were
    finished and a repetition gives the same bytes. Memory: `STRIP` rows of the canvas. Raises
    TilefarmError where the canvas is missing or has another length, ResourceError where the disk is full.
    """
    open_raw(canvas, grid.level)
    crc = 0
    with telling_when_full(canvas), canvas.open("r+b") as file:
        for start, stop, rows in grid.y.bands():
            for top in range(start, stop, STRIP):
                strip = _strip(store, grid, top, min(top + STRIP, stop), rows, plane)
                file.write(strip.data)
                file.flush()
                crc = zlib.crc32(strip.data, crc)
                faults.reached("blend: strip written")
        sync_file(canvas)
        faults.reached("blend: synced")
    return crc


def _strip(
    store: TileStore, grid: Grid, start: int, stop: int, rows: range, plane: int
) -> NDArray[np.float32]:
    """The canvas's rows start..stop-1, from the tiles in these rows of the grid.

    Shape (stop - start, 3 * width), little-endian as in the file. The three samples of a pixel have no axis
    of their own: over so short a last axis numpy is several times slower.
    """
    strip = np.zeros((stop - start, CHANNELS * grid.level.width), dtype="<f4")
    weights_x = np.repeat(grid.x.weights(), CHANNELS)
    weights_y = grid.y.weights()[:, np.newaxis]
    for row in rows:
        first, last = start - grid.y.start(row), stop - grid.y.start(row)
        weights = weights_x * weights_y[first:last]
        for column in range(grid.x.count):
            left = grid.x.start(column)
            inside = slice(max(0, -left), min(grid.x.tile, grid.level.width - left))
            if inside.start >= inside.stop:
                continue
            tile = store.read(row * grid.x.count + column, first, last, plane)
            weighted = tile.reshape(weights.shape) * weights
            samples = slice(CHANNELS * inside.start, CHANNELS * inside.stop)
            place = slice(CHANNELS * (left + inside.start), CHANNELS * (left + inside.stop))
            strip[:, place] += weighted[:, samples]
    return strip
