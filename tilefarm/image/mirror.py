"""Pictures that go on beyond their border, mirrored: for sheets that a content does not cover."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tilefarm.files import replacing, reserve, telling_when_full
from tilefarm.geometry import Box, Size, View
from tilefarm.image.decode import PictureInfo
from tilefarm.image.resize import write_content
from tilefarm.image.window import open_raw, raw_bytes

_BLOCK_BYTES = 1 << 24


def write_view(
    info: PictureInfo, view: View, size: Size, target: Path, *, part: Literal["colour", "alpha"] = "colour"
) -> None:
    """Write what `view` shows of the upright picture, or of its alpha, as a raw canvas of exactly `size`.

    `size` is that of the view's canvas, or of a smaller level of it. Around the part that is shown it goes on
    mirrored, which at the canvas' own size is numpy's padding "symmetric"; at any size every pixel is within
    one pixel of the place that this mirroring gives it. The picture is read once from top to bottom, and
    memory does not grow with it. Raises what `write_content` does.
    """
    place = place_at(view, size)
    if place == Box.of(size):
        write_content(info, view.crop, size, target, part=part)
        return
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        shown = Path(folder) / "shown.f32"
        write_content(info, view.crop, place.size, shown, part=part)
        _go_on_mirrored(shown, view, size, target)


def _go_on_mirrored(shown: Path, view: View, size: Size, target: Path) -> None:
    """Write a canvas of `size` from the raw part that it shows, which has the size of its place there."""
    columns = mirrored_indices(view.place.left, view.place.right, view.canvas.width, size.width)
    rows = mirrored_indices(view.place.top, view.place.bottom, view.canvas.height, size.height)
    with telling_when_full(target), replacing(target) as temporary:
        reserve(temporary, raw_bytes(size))
        _pick(shown, place_at(view, size).size, temporary, rows, columns)


def place_at(view: View, size: Size) -> Box:
    """Where the part that is shown lies on a canvas of `size`: at least one pixel, to half a pixel."""
    left, right = _edges(view.place.left, view.place.right, view.canvas.width, size.width)
    top, bottom = _edges(view.place.top, view.place.bottom, view.canvas.height, size.height)
    return Box(left, top, right, bottom)


def mirrored_indices(begin: int, end: int, length: int, pixels: int) -> NDArray[np.int64]:
    """Which sample of a part is seen at each pixel of a line that the part goes on along, mirrored.

    The part lies from `begin` to `end` on a line of `length`, which here has so many `pixels`. Mirrors stand
    at the edges, so that the border sample is seen twice in a row, and at the same places whatever the number
    of pixels. Shape (pixels,), values from 0 to the part's samples - 1.
    """
    first, last = _edges(begin, end, length, pixels)
    count = last - first
    # Positions of pixel centres from the part's beginning, as multiples of 1 / (2 pixels) of the line's unit.
    positions = (2 * np.arange(pixels, dtype=np.int64) + 1) * length - 2 * begin * pixels
    whole = 2 * (end - begin) * pixels
    positions %= 2 * whole
    folded = np.minimum(positions, 2 * whole - positions)
    indices: NDArray[np.int64] = np.minimum(folded * count // whole, count - 1)
    indices[first:last] = np.arange(count)  # the edges were rounded: the part itself stays as it is
    return indices


def _edges(begin: int, end: int, length: int, pixels: int) -> tuple[int, int]:
    """begin and end of a part of a line, in pixels."""
    first = min((2 * begin * pixels + length) // (2 * length), pixels - 1)
    return first, max(first + 1, (2 * end * pixels + length) // (2 * length))


def _pick(
    source: Path, source_size: Size, target: Path, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> None:
    """Write the rows and columns of a raw canvas, in this order, over the beginning of a file."""
    step = max(1, _BLOCK_BYTES // raw_bytes(Size(len(columns), 1)))
    with target.open("r+b") as file:
        for top in range(0, len(rows), step):
            band = rows[top : top + step]
            low, high = int(band.min()), int(band.max()) + 1
            # Mapped anew for each band, so that no more than a band counts as our memory.
            seen = np.asarray(open_raw(source, source_size)[low:high])
            file.write(np.ascontiguousarray(seen[np.ix_(band - low, columns)]).data)
