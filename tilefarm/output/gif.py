"""Animated GIF, streamed by libvips from frames on the disk, and never larger than a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

from tilefarm.files import reserve
from tilefarm.geometry import Size
from tilefarm.image.engine import saving

GIF_RATE = 12.5
"""Frames a second: GIF counts in hundredths of a second, and viewers are at ease with 8 of them."""
GIF_BYTES = 20_000_000
"""What mail and web pages still take."""
SMALLEST_SIDE = 64
_LEAST_BYTES_PER_PIXEL = 0.2
"""Of painted pictures: what starts larger than this allows need not be tried."""
_SHRINK_MARGIN = 0.95

MakeFrames = Callable[[Size], Iterator[NDArray[np.uint8]]]
"""All frames in a size, each (height, width, 3)."""


def write_gif(
    make: MakeFrames, count: int, size: Size, hold: float, target: Path, scratch: Path, most: int = GIF_BYTES
) -> Size:
    """Write `count` frames of at most `size` with at most `most` bytes, and return the size that they have.

    A file that is too large is written again with smaller frames, down to a long side of 64 pixels; all
    frames are kept. Each frame has the best 256 colours for it, with error diffusion, and leaves out pixels
    that hardly changed. The last is shown `hold` seconds longer; then it starts again. The file
    `scratch` holds the frames meanwhile, three bytes a pixel. Raises ResourceError where the disk is full.
    """
    size = _scaled(size, math.sqrt(min(1.0, most / _LEAST_BYTES_PER_PIXEL / (count * size.pixels))))
    try:
        while True:
            _write_raw(make(size), count, size, scratch)
            _save(scratch, count, size, hold, target)
            written = target.stat().st_size
            if written <= most or size.long_side <= SMALLEST_SIDE:
                return size
            size = _scaled(size, _SHRINK_MARGIN * math.sqrt(most / written))
    finally:
        scratch.unlink(missing_ok=True)


def _scaled(size: Size, factor: float) -> Size:
    side = max(min(SMALLEST_SIDE, size.long_side), int(size.long_side * factor))
    return size if factor >= 1 else size.fit_long_side(side)


def _write_raw(frames: Iterator[NDArray[np.uint8]], count: int, size: Size, path: Path) -> None:
    """libvips takes an animation as one tall picture, too large for memory: it goes through a file."""
    reserve(path, count * size.pixels * 3)
    with path.open("r+b") as file:
        for frame in frames:
            file.write(np.ascontiguousarray(frame).data)


def _save(raw: Path, count: int, size: Size, hold: float, target: Path) -> None:
    pixels = np.memmap(raw, dtype=np.uint8, mode="r", shape=(count * size.height, size.width, 3))
    image = pyvips.Image.new_from_memory(pixels, size.width, count * size.height, 3, "uchar")
    image = image.copy(interpretation="srgb")
    delays = [round(1000 / GIF_RATE)] * count
    delays[-1] += round(hold * 1000)
    image.set_type(pyvips.GValue.gint_type, "page-height", size.height)
    image.set_type(pyvips.GValue.array_int_type, "delay", delays)
    image.set_type(pyvips.GValue.gint_type, "loop", 0)
    with saving(target), target.open("wb") as file:
        to = pyvips.Target.new_to_descriptor(file.fileno())
        image.gifsave_target(to, dither=0.5, effort=2, interframe_maxerror=4, keep="none")
