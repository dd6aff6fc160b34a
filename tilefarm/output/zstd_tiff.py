"""TIFF with Zstandard, by tifffile: the libvips of pyvips' wheels is built without that codec."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyvips
import tifffile
from numpy.typing import NDArray

from tilefarm.spec.file_form import FileForm

_BUFFER_BYTES = 1 << 25
_LEVEL = 10
_XMP_TAG = 700
_BYTE = 1


def missing_zstd() -> str | None:
    """Why no TIFF can be compressed with Zstandard here, as the end of a sentence; None where one can."""
    try:
        tifffile.imwrite(io.BytesIO(), np.zeros((16, 16), np.uint8), compression="zstd")
    except (ImportError, ValueError, AttributeError):  # which one depends on tifffile's version
        return (
            "needs a codec that is not installed: pip install 'tilefarm[zstd]' (Python 3.14 has it itself), "
            "or choose deflate"
        )
    return None


def write_zstd_tiff(picture: pyvips.Image, path: Path, form: FileForm, tile: int, *, bigtiff: bool) -> None:
    """Write 8 or 16-bit pixels, RGB or RGBA, band by band, with horizontal differences (predictor 2)."""
    xmp = [picture.get("xmp-data")] if picture.get_typeof("xmp-data") else []
    tifffile.imwrite(
        path,
        _tiles(picture, tile),
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
        tile=(tile, tile),
        software=False,
        extratags=[(_XMP_TAG, _BYTE, len(data), data, True) for data in xmp],
    )


def _tiles(picture: pyvips.Image, side: int) -> Iterator[NDArray[np.generic]]:
    """From the top left; those at the right and bottom border are smaller, and padded by the writer."""
    for top in range(0, picture.height, side):
        band = picture.crop(0, top, picture.width, min(side, picture.height - top)).numpy()
        for left in range(0, picture.width, side):
            yield band[:, left : left + side]
