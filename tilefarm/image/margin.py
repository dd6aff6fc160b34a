"""A finished picture on plain paper: the margin is not painted, and so comes last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tilefarm.files import reserve, telling_when_full
from tilefarm.image.window import CHANNELS, RAW_DTYPE, open_raw, raw_bytes
from tilefarm.spec.sheet import Sheet

_ROWS = 64


@contextmanager
def with_margin(picture: Path, sheet: Sheet, folder: Path) -> Iterator[Path]:
    """The raw canvas of a painted picture as it goes into the file: with its margin, in a working file.

    It is removed after the block; what a killed process leaves of it begins with a dot. A picture that covers
    its sheet is yielded itself. Values are not changed. Raises ResourceError where the disk is full.
    """
    if sheet.margin is None:
        yield picture
        return
    with TemporaryDirectory(dir=folder, prefix=".margin.") as name:
        target = Path(name) / "sheet.f32"
        _write(picture, sheet, target)
        yield target


def _write(picture: Path, sheet: Sheet, target: Path) -> None:
    """Band by band; the picture is mapped anew for each, so that no more than a band counts as our memory."""
    place, size = sheet.picture, sheet.size
    reserve(target, raw_bytes(size))
    with telling_when_full(target), target.open("r+b") as file:
        for top in range(0, size.height, _ROWS):
            bottom = min(top + _ROWS, size.height)
            band = np.empty((bottom - top, size.width, CHANNELS), dtype=RAW_DTYPE)
            band[...] = sheet.margin
            first, last = max(top, place.top), min(bottom, place.bottom)
            if first < last:
                seen = open_raw(picture, place.size)[first - place.top : last - place.top]
                band[first - top : last - top, place.left : place.right] = seen
            file.write(band.data)
