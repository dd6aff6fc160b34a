"""Small versions of finished pictures, in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tilefarm.geometry import Size
from tilefarm.image.decode import PictureInfo, open_srgb, reading
from tilefarm.image.engine import quantised
from tilefarm.image.resize import shrink


def fitted(size: Size, side: int) -> Size:
    """A size with the same aspect whose long side is at most `side`; nothing grows."""
    return size if size.long_side <= side else size.fit_long_side(side)


def thumbnail(info: PictureInfo, size: Size) -> NDArray[np.uint8]:
    """The upright picture shrunk to `size`: sRGB, shape (height, width, 3), 0..255.

    The file is read in strips; only the result is held. Raises JobError where it cannot be read any more.
    """
    with reading(info):
        small = quantised(shrink(open_srgb(info), size), 255)
        pixels = np.frombuffer(small.write_to_memory(), dtype=np.uint8)
    return pixels.reshape(size.height, size.width, 3)
