"""EXIF orientation: how a stored picture must be turned to be seen upright.

Source: CIPA DC-008 (Exif 2.32), tag 0x0112. Every value is an optional exchange of rows and columns
followed by optional mirrorings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilefarm.files import reserve
from tilefarm.geometry import Box, Size
from tilefarm.image.engine import saving
from tilefarm.image.window import CHANNELS, open_raw, raw_bytes

_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Orientation:
    """upright = stored, transposed if `transposed`, then mirrored along x and y."""

    transposed: bool
    mirrored_x: bool
    mirrored_y: bool

    @property
    def upright(self) -> bool:
        """Whether nothing has to be done."""
        return not (self.transposed or self.mirrored_x or self.mirrored_y)

    def turn(self, size: Size) -> Size:
        """The upright size of a stored size, and the other way round."""
        return Size(size.height, size.width) if self.transposed else size

    def to_stored(self, box: Box, upright_size: Size) -> Box:
        """Where a box of the upright picture lies in the stored one."""
        left, right, top, bottom = box.left, box.right, box.top, box.bottom
        if self.mirrored_x:
            left, right = upright_size.width - right, upright_size.width - left
        if self.mirrored_y:
            top, bottom = upright_size.height - bottom, upright_size.height - top
        return Box(top, left, bottom, right) if self.transposed else Box(left, top, right, bottom)

    def apply(self, stored: NDArray[np.float32]) -> NDArray[np.float32]:
        """The upright view of a stored array of shape (height, width, channels)."""
        turned = stored.swapaxes(0, 1) if self.transposed else stored
        return turned[:: -1 if self.mirrored_y else 1, :: -1 if self.mirrored_x else 1]


ORIENTATIONS: dict[int, Orientation] = {
    1: Orientation(False, False, False),
    2: Orientation(False, True, False),
    3: Orientation(False, True, True),
    4: Orientation(False, False, True),
    5: Orientation(True, False, False),
    6: Orientation(True, True, False),
    7: Orientation(True, True, True),
    8: Orientation(True, False, True),
}


def orient_raw(source: Path, stored_size: Size, orientation: Orientation, target: Path) -> None:
    """Write the upright version of a raw canvas; memory is two blocks of 16 MiB at any size."""
    upright = orientation.turn(stored_size)
    reserve(target, raw_bytes(upright))
    step = _rows_per_block(upright.width)
    with saving(target), target.open("r+b") as file:
        for top in range(0, upright.height, step):
            band = Box(0, top, upright.width, min(top + step, upright.height))
            stored = _read_box(source, stored_size, orientation.to_stored(band, upright))
            file.write(np.ascontiguousarray(orientation.apply(stored)).data)


def _read_box(path: Path, size: Size, box: Box) -> NDArray[np.float32]:
    result = np.empty((box.height, box.width, CHANNELS), dtype=np.float32)
    step = _rows_per_block(size.width)
    for start in range(0, box.height, step):
        rows = slice(box.top + start, min(box.top + start + step, box.bottom))
        # Mapped anew for each block, so that no more than a block counts as our memory.
        result[start : start + step] = open_raw(path, size)[rows, box.left : box.right]
    return result


def _rows_per_block(width: int) -> int:
    return max(1, _BLOCK_BYTES // raw_bytes(Size(width, 1)))
