"""Blending: the feathered sum of a round's tiles, streamed from the slots into the canvas."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tilefarm.canvas.tile_store import CHANNELS, TileStore
from tilefarm.files import checksum, sync_file
from tilefarm.image.window import open_raw
from tilefarm.plan.grid import Grid


def blend(store: TileStore, grid: Grid, canvas: Path) -> int:
    """Replace the canvas by the weighted sum of all tiles; returns the canvas file's CRC-32.

    The canvas must exist (`files.reserve`). It is written band by band, each band once and complete,
    with tiles added in grid order, so that the result does not depend on the order in which tiles
    were finished and a repetition gives the same bytes. Memory: one band of half a tile's height.
    """
    weights_x = grid.x.weights()[np.newaxis, :, np.newaxis]
    weights_y = grid.y.weights()[:, np.newaxis, np.newaxis]
    width = grid.level.width
    for start, stop, rows in grid.y.bands():
        band = np.zeros((stop - start, width, CHANNELS), dtype=np.float32)
        for row in rows:
            first = start - grid.y.start(row)
            last = stop - grid.y.start(row)
            for column in range(grid.x.count):
                left = grid.x.start(column)
                inside = slice(max(0, -left), min(grid.x.tile, width - left))
                if inside.start >= inside.stop:
                    continue
                tile = store.read(row * grid.x.count + column, first, last)
                weighted = tile[:, inside] * (weights_x[:, inside] * weights_y[first:last])
                band[:, left + inside.start : left + inside.stop] += weighted
        pixels = open_raw(canvas, grid.level, "r+")  # opened anew so that no more than a band stays mapped
        pixels[start:stop] = band
        pixels.flush()
        del pixels
    sync_file(canvas)
    return checksum(canvas)
