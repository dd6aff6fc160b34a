"""The finished picture: a raw canvas clipped, rounded and streamed into TIFF, PNG or JPEG."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyvips
import tifffile
from numpy.typing import NDArray

from tilefarm import __version__, faults
from tilefarm.errors import TilefarmError
from tilefarm.files import remove_leftovers, replacing
from tilefarm.geometry import Size
from tilefarm.image.colour import srgb_profile
from tilefarm.image.engine import quantised, raw_image, saving
from tilefarm.image.window import CHANNELS, open_raw, raw_bytes
from tilefarm.output.check import check_output
from tilefarm.spec.file_form import FileForm

_TIFF_TILE = 256
_TIFF_BUFFER_BYTES = 1 << 25
_CLASSIC_TIFF_BYTES = 2**32 - 2**26
_DEFLATE_LEVEL = 6
_JPEG_QUALITY = 95
_MM_PER_INCH = 25.4
_BLOCK_BYTES = 1 << 24


def write_output(source: Path, size: Size, target: Path, form: FileForm, alpha: Path | None = None) -> None:
    """Write a raw canvas as a print-ready file with an sRGB profile and its resolution.

    `alpha` is a raw canvas of the same size with the transparency in all channels; the file then has a
    fourth one, and the colours are not multiplied with it (TIFF, PNG). Values are clipped to 0..1 and
    rounded to the nearest step. The file is written beside `target`, reopened and checked, and only then
    renamed; the same canvas gives the same bytes. Memory does not grow with the picture. Raises
    TilefarmError where the canvas holds NaN or infinity, where it has another size, or where the check
    fails; ResourceError where the disk is full.
    """
    if form.format == "jpeg" and alpha is not None:
        raise ValueError("JPEG has no transparency")
    _check_finite(source, size)
    remove_leftovers(target)
    with replacing(target) as temporary:
        with saving(target):
            write = _write_tiff if form.format == "tiff" else _write_with_vips
            write(source, size, temporary, form, alpha)
        faults.reached("export: picture written")
        check_output(temporary, size, form, alpha=alpha is not None)
        faults.reached("export: picture checked")
    faults.reached("export: picture replaced")


def _check_finite(source: Path, size: Size) -> None:
    rows = max(1, _BLOCK_BYTES // raw_bytes(Size(size.width, 1)))
    for top in range(0, size.height, rows):
        block = open_raw(source, size)[top : top + rows]  # mapped anew: one block at a time is ours
        finite = np.isfinite(block)
        if not finite.all():
            y, x, _ = np.argwhere(~finite)[0]
            raise TilefarmError(
                f"the canvas {source} is not finite at x={x}, y={top + y}, so no picture was written; "
                "please report this with the run folder"
            )


def _write_tiff(source: Path, size: Size, path: Path, form: FileForm, alpha: Path | None) -> None:
    """Tiles of 256 pixels, deflate after horizontal differences (predictor 2): what every reader reads."""
    dtype = np.dtype(f"uint{form.bit_depth}")
    padded = [math.ceil(side / _TIFF_TILE) * _TIFF_TILE for side in (size.width, size.height)]
    channels = CHANNELS if alpha is None else CHANNELS + 1
    estimate = math.prod(padded) * channels * dtype.itemsize  # deflate adds less than the margin
    tifffile.imwrite(
        path,
        _tiles(source, size, dtype, alpha),
        shape=(size.height, size.width, channels),
        dtype=dtype,
        bigtiff=estimate > _CLASSIC_TIFF_BYTES,
        byteorder="<",
        tile=(_TIFF_TILE, _TIFF_TILE),
        photometric="rgb",
        extrasamples=None if alpha is None else ["unassalpha"],
        compression="zlib",
        compressionargs={"level": _DEFLATE_LEVEL},
        predictor=True,
        buffersize=_TIFF_BUFFER_BYTES,
        iccprofile=srgb_profile(),
        resolution=(form.dpi, form.dpi),
        resolutionunit="INCH",
        software=f"tilefarm {__version__}",
        metadata=None,
    )


def _tiles(
    source: Path, size: Size, dtype: np.dtype[np.unsignedinteger], alpha: Path | None
) -> Iterator[NDArray[np.generic]]:
    """All tiles, row by row; those at the right and bottom border are smaller and padded by the writer."""
    white = np.iinfo(dtype).max
    for top in range(0, size.height, _TIFF_TILE):
        band = open_raw(source, size)[top : top + _TIFF_TILE]
        clear = None if alpha is None else open_raw(alpha, size)[top : top + _TIFF_TILE]
        for left in range(0, size.width, _TIFF_TILE):
            tile = np.asarray(band[:, left : left + _TIFF_TILE])
            if clear is not None:
                tile = np.dstack([tile, clear[:, left : left + _TIFF_TILE, 0]])
            yield np.rint(np.clip(tile, 0, 1) * np.float32(white)).astype(dtype)


def _write_with_vips(source: Path, size: Size, path: Path, form: FileForm, alpha: Path | None) -> None:
    resolution = form.dpi / _MM_PER_INCH  # libvips counts in pixels per millimetre
    white = 2**form.bit_depth - 1
    with ExitStack() as stack:
        file = stack.enter_context(path.open("wb"))
        image = stack.enter_context(raw_image(source, size))
        picture = quantised(image, white).copy(xres=resolution, yres=resolution)
        if alpha is not None:
            clear = quantised(stack.enter_context(raw_image(alpha, size)), white)
            picture = picture.bandjoin(clear.extract_band(0))
        to = pyvips.Target.new_to_descriptor(file.fileno())
        if form.format == "png":
            picture.pngsave_target(
                to,
                bitdepth=form.bit_depth,
                compression=_DEFLATE_LEVEL,
                filter="sub",
                profile="srgb",
                keep="icc",
            )
        else:
            # The resolution goes into EXIF: libvips writes no JFIF header, and keeps "all" of nothing else.
            picture.jpegsave_target(to, Q=_JPEG_QUALITY, subsample_mode="off", profile="srgb")
