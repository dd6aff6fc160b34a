"""Are borders of tiles visible? A statistic of the picture, and blends that leave borders visible."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tilefarm.plan.grid import AxisGrid, Grid

Pixels = NDArray[np.floating]

VISIBLE = 4.0
"""Scores beyond this, up or down, are seams. Where there are none, a score is about standard normal: one
picture in 16,000 would be blamed wrongly, or rather one in 1000, because the spread is estimated from no more
than some fifty lines. Six feathered and four exact pictures of several seeds scored between -1.8 and 1.4;
the tests' bad blends and halos score 8 to 28."""

NEAR = 3
"""Pixels. Lines that are no further from a border are not compared with: a seam may be smeared over them."""

_REC_709 = np.array([0.2126, 0.7152, 0.0722])
_DEVIATIONS_PER_MAD = 1.4826
"""The standard deviation of a normal distribution, in median absolute deviations."""


def seam_score(picture: Pixels, columns: Iterable[int], rows: Iterable[int], period: int) -> float:
    """How far the gradient along border lines is from that along other lines, in standard deviations.

    `picture` is (height, width, 3), 0..1. A vertical border at x lies between the pixel columns x - 1 and
    x, and its gradient is their mean absolute difference of luminance; `columns` are the borders' x,
    `rows` the horizontal borders' y. Lines closer than `NEAR` to the picture's edge are left out. Each
    border's gradient is compared with median and spread (from the median absolute deviation) of the lines
    of its direction that are further than `NEAR` from every border; the deviations of all n borders are
    added and divided by sqrt(n). A step makes the score positive, a smear negative.

    Only lines a multiple of `period` pixels from the borders are compared with, the stride of the deepest
    layer: max pooling leaves a pattern of that period in the picture, 5 to 10% in the gradient, and tiles
    start at multiples of it. Raises ValueError for borders that differ in this.
    """
    luminance = picture.astype(np.float64) @ _REC_709
    across = _deviations(luminance, columns, period)
    down = _deviations(luminance.T, rows, period)
    deviations = np.concatenate([across, down])
    return float(deviations.sum() / np.sqrt(deviations.size))


def _deviations(luminance: Pixels, borders: Iterable[int], period: int) -> Pixels:
    """The deviation of every vertical border's gradient from the usual one, in standard deviations."""
    width = luminance.shape[1]
    lines = np.arange(1 + NEAR, width - NEAR)
    found = np.intersect1d(lines, list(borders))
    if len(set(found % period)) != 1:
        raise ValueError(f"borders at {found} are not multiples of {period} apart")
    gradients = np.zeros(width)
    gradients[1:] = np.abs(np.diff(luminance, axis=1)).mean(axis=0)
    distance = np.abs(lines[:, np.newaxis] - found).min(axis=1)
    others = gradients[lines[(distance > NEAR) & ((lines - found[0]) % period == 0)]]
    usual = np.median(others)
    spread = _DEVIATIONS_PER_MAD * np.median(np.abs(others - usual))
    deviations: Pixels = (gradients[found] - usual) / spread
    return deviations


def tile_edges(axis: AxisGrid) -> list[int]:
    """Where tiles start and end along an axis, in the picture's pixels."""
    starts = [axis.start(index) for index in range(axis.count)]
    return [*starts, *(start + axis.tile for start in starts)]


def blended(grid: Grid, tiles: Pixels, ramp_x: Pixels, ramp_y: Pixels) -> Pixels:
    """The sum of tiles (n, tile, tile, 3), each weighted with a ramp (tile,) along either axis."""
    canvas = _padded(grid)
    weights = (ramp_y[:, np.newaxis] * ramp_x)[..., np.newaxis]
    for index, tile in enumerate(tiles):
        _place(grid, canvas, index)[...] += weights * tile
    return _picture(grid, canvas)


def pasted(grid: Grid, tiles: Pixels) -> Pixels:
    """Tiles put down whole one after the other, each over the ones before it: no feather at all."""
    canvas = _padded(grid)
    for index, tile in enumerate(tiles):
        _place(grid, canvas, index)[...] = tile
    return _picture(grid, canvas)


def _padded(grid: Grid) -> Pixels:
    return np.zeros((grid.y.padded_length, grid.x.padded_length, 3))


def _place(grid: Grid, canvas: Pixels, index: int) -> Pixels:
    """The part of the padded canvas where a tile lies."""
    box = grid.box(index)
    top, left = box.top + grid.y.padding, box.left + grid.x.padding
    return canvas[top : top + grid.y.tile, left : left + grid.x.tile]


def _picture(grid: Grid, canvas: Pixels) -> Pixels:
    """What the padding surrounds, in the range of a picture."""
    top, left = grid.y.padding, grid.x.padding
    return canvas[top : top + grid.y.length, left : left + grid.x.length].clip(0, 1)
