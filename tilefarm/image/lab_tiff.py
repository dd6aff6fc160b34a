"""TIFF files of 8-bit CIELab, as photo editors write them.

libvips 8.18 cannot open them: it packs the three channels into a form of its own and then finds that form
wrong. Its decoder is good, though. So it is given the file with one number changed, the tag that calls the
channels CIELab and then RGB, and the channels are read here as what they are.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import pyvips

from tilefarm.image.tiff_directory import byte_order, directory_values

_PHOTOMETRIC = 262
_RGB = 2


def open_lab_tiff(path: Path, **options: Any) -> pyvips.Image:
    """The picture as float CIELab: lightness 0..100, a and b -128..127. Only the header is read.

    Raises pyvips.Error where it does not decode as three 8-bit channels, OSError where it cannot be read.
    """
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # changed in memory alone, page by page
    place = next(place for tag, _, _, place in directory_values(data) if tag == _PHOTOMETRIC)
    struct.pack_into(byte_order(data) + "H", data, place, _RGB)
    stored = pyvips.Image.new_from_source(pyvips.Source.new_from_memory(data), "", **options)
    if (stored.bands, stored.format) != (3, "uchar"):
        raise pyvips.Error("CIELab must have three channels of 8 bits")
    signed = stored.extract_band(1, n=2).cast("short")
    signed = (signed > 127).ifthenelse(signed - 256, signed)
    lab = (stored.extract_band(0) * (100 / 255)).bandjoin(signed)
    return lab.cast("float").copy(interpretation="lab")
