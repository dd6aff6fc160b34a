"""Memory of decoders that cannot hand out a picture row by row, known from its header."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import pyvips

from tilefarm.image.tiff_directory import byte_order, directory_values

_BYTES = {"uchar": 1, "char": 1, "ushort": 2, "short": 2, "uint": 4, "int": 4, "float": 4, "double": 8}
_WHOLE = {"webp": 8, "heif": 16, "gif": 8}
"""Bytes per pixel and byte of a value, of decoders that always hold the whole picture: measured with libvips
8.17 as 8.1, 15.9 and 4.8 (a grey GIF; its canvas and the one before it have four channels each)."""
_COEFFICIENT_BYTES = 2
"""Of libjpeg, per value; those of a progressive file are all needed before the first row is known."""
_ROWS_PER_STRIP, _PLANAR, _SEPARATE = 278, 284, 2


def decoder_bytes(image: pyvips.Image, path: Path) -> int:
    """About how much memory the decoding of this picture takes beside a few rows, in bytes; 0 for most.

    Counted are interlaced PNG (all pixels), progressive JPEG (all coefficients, as if no colour were
    subsampled), WebP, AVIF, HEIC and GIF (the whole picture), TIFF with tiles (libvips keeps two rows of
    them) and TIFF with separate planes in long strips.
    """
    loader = str(image.get("vips-loader")) if image.get_typeof("vips-loader") else ""
    size = _BYTES.get(str(image.format), 8)
    width, height, bands = int(image.width), int(image.height), int(image.bands)
    row = width * bands * size
    interlaced = bool(image.get_typeof("interlaced"))
    if loader.startswith("png"):
        return row * height * interlaced
    if loader.startswith(("jpeg", "uhdr")):
        return width * bands * height * _COEFFICIENT_BYTES * interlaced
    if loader.startswith("tiff"):
        if image.get_typeof("tile-height"):
            tile = int(image.get("tile-width"))
            return 2 * int(image.get("tile-height")) * -(-width // tile) * tile * bands * size
        return _rows_of_planar_strips(path, height) * (row + width * size)
    per_pixel = next((value for kind, value in _WHOLE.items() if loader.startswith(kind)), 0)
    return width * height * per_pixel * size


def _rows_of_planar_strips(path: Path, height: int) -> int:
    """How many rows must be read at once, and one more plane of them; 0 where channels lie side by side."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            numbers = {
                tag: struct.unpack_from(byte_order(data) + {3: "H", 4: "L"}[kind], data, at)[0]
                for tag, kind, amount, at in directory_values(data)
                if tag in (_ROWS_PER_STRIP, _PLANAR) and kind in (3, 4) and amount == 1
            }
    except (OSError, ValueError, struct.error):  # decoding it will say what is wrong
        return 0
    return min(height, numbers.get(_ROWS_PER_STRIP, height)) if numbers.get(_PLANAR) == _SEPARATE else 0
