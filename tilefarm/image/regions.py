"""Masks at a level's size: how much every pixel belongs to each region, streamed in bands of rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from tilefarm.files import replacing
from tilefarm.geometry import Box, Size, View
from tilefarm.image.decode import PictureInfo
from tilefarm.image.mirror import write_view
from tilefarm.image.window import open_raw, read_window

_VALUES_PER_BAND = 1 << 22


@dataclass(frozen=True)
class RawRegions:
    """A headerless float32 file of shape (height, width, count), 0..1."""

    path: Path
    count: int

    def window(self, size: Size, box: Box) -> NDArray[np.float32]:
        """The shares in a window of the endlessly reflected picture of `size`, (height, width, count)."""
        return read_window(open_raw(self.path, size, channels=self.count), box)

    def areas(self, size: Size) -> tuple[float, ...]:
        """Every region's share of the picture."""
        total = np.zeros(self.count)
        for top in range(0, size.height, _rows(size)):
            band = open_raw(self.path, size, channels=self.count)[top : top + _rows(size)]
            total += band.sum(axis=(0, 1), dtype=np.float64)
        return tuple(float(value) for value in total / size.pixels)


def write_regions(
    masks: Sequence[PictureInfo | None], views: Sequence[View], size: Size, target: Path
) -> RawRegions:
    """Write the regions of some masks at `size`; one that is None gets what the others leave.

    `views` are the parts of the masks that lie over the picture. A mask's sRGB values are the shares: middle
    grey is a half. Where masks overlap with more than 1 together, they share the pixel in proportion.
    """
    count = len(masks)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder, ExitStack() as stack:
        temporary = stack.enter_context(replacing(target))
        files = []
        for number, (mask, view) in enumerate(zip(masks, views, strict=True)):
            files.append(Path(folder) / f"{number}.f32")
            if mask is not None:
                write_view(mask, view, size, files[-1])
        with temporary.open("wb") as out:
            for top in range(0, size.height, _rows(size)):
                rows = slice(top, min(top + _rows(size), size.height))
                shares = np.zeros((rows.stop - rows.start, size.width, count), dtype=np.float32)
                for number, mask in enumerate(masks):
                    if mask is not None:
                        shares[:, :, number] = open_raw(files[number], size)[rows].mean(axis=2).clip(0, 1)
                _share_out(shares, [number for number, mask in enumerate(masks) if mask is None])
                out.write(shares.data)
    return RawRegions(target, count)


def _share_out(shares: NDArray[np.float32], rest: Sequence[int]) -> None:
    """No pixel belongs to more than 1 region in all, and what is left belongs to the rest."""
    total = shares.sum(axis=2, keepdims=True)
    shares /= np.maximum(total, 1)
    for number in rest:
        shares[:, :, number] = np.maximum(1 - total[:, :, 0], 0)


def _rows(size: Size) -> int:
    return max(1, _VALUES_PER_BAND // (size.width * 3))
