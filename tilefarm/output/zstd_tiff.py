"""TIFF with Zstandard, by tifffile: the libvips of pyvips' wheels is built without that codec."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyvips
import tifffile
from numpy.typing import NDArray

from tilefarm.spec.file_form import FileForm

_STRIP_ROWS = 32
_BUFFER_BYTES = 1 << 25
_LEVEL = 10
_XMP_TAG = 700
_BYTE = 1


def missing_zstd() -> str | None:
    """Why no TIFF can be compressed with Zstandard here, as the end of a sentence; None where one can."""
    if sys.version_info >= (3, 14):  # has the codec itself, and tifffile uses it
        return None
    try:
        importlib.import_module("imagecodecs")
    except ImportError:
        return "needs imagecodecs, which is not installed: pip install 'tilefarm[zstd]', or choose deflate"
    return None


def write_zstd_tiff(picture: pyvips.Image, path: Path, form: FileForm, tile: int, *, bigtiff: bool) -> None:
    """Write 8 or 16-bit pixels, RGB or RGBA, band by band, with horizontal differences (predictor 2)."""
    rows = tile if form.tiled else _STRIP_ROWS
    xmp = [picture.get("xmp-data")] if picture.get_typeof("xmp-data") else []
    tifffile.imwrite(
        path,
        _parts(picture, rows, tile if form.tiled else picture.width),
        shape=(picture.height, picture.width, picture.bands),
        dtype=np.dtype(f"uint{form.bit_depth}"),
        bigtiff=bigtiff,
        byteorder="<",
        photometric="rgb",
        extrasamples=["unassalpha"] if picture.bands == 4 else None,
        compression="zstd",
        compressionargs={"level": _LEVEL},
        predictor=True,
        buffersize=_BUFFER_BYTES,
        iccprofile=picture.get("icc-profile-data"),
        resolution=(form.dpi, form.dpi),
        resolutionunit="INCH",
        metadata=None,
        software=False,
        extratags=[(_XMP_TAG, _BYTE, len(data), data, True) for data in xmp],
        **({"tile": (tile, tile)} if form.tiled else {"rowsperstrip": rows}),
    )


def _parts(picture: pyvips.Image, rows: int, columns: int) -> Iterator[NDArray[np.generic]]:
    """Tiles or strips from the top left; those at the right and bottom border are smaller."""
    for top in range(0, picture.height, rows):
        band = picture.crop(0, top, picture.width, min(rows, picture.height - top)).numpy()
        for left in range(0, picture.width, columns):
            yield band[:, left : left + columns]
