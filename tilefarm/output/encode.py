"""Pixels as a TIFF, PNG, JPEG or WebP file, streamed by libvips."""

from __future__ import annotations

import math
from pathlib import Path

import pyvips

from tilefarm.geometry import Size
from tilefarm.output.zstd_tiff import write_zstd_tiff
from tilefarm.spec.file_form import FileForm

TIFF_TILE = 256
_STRIP_ROWS = 32
_CLASSIC_TIFF_BYTES = 2**32 - 2**26
_DEFLATE_LEVEL = 6
_KEPT = "icc|xmp|exif"
"""Of the metadata: libvips puts a JPEG's and a WebP's resolution into EXIF."""


def encode(picture: pyvips.Image, path: Path, form: FileForm) -> None:
    """Write 8 or 16-bit pixels, RGB or RGBA, with the metadata that they carry, into a new file.

    Raises OSError and pyvips.Error where the file cannot be written.
    """
    if form.format == "tiff" and form.compression == "zstd":
        write_zstd_tiff(picture, path, form, TIFF_TILE, bigtiff=_is_big(picture, form))
        return
    with path.open("w+b") as file:  # TIFF is read while it is written
        to = pyvips.Target.new_to_descriptor(file.fileno())
        if form.format == "tiff":
            _encode_tiff(picture, to, form)
        elif form.format == "png":
            picture.pngsave_target(
                to, bitdepth=form.bit_depth, compression=_DEFLATE_LEVEL, filter="sub", keep="icc|xmp"
            )
        elif form.format == "jpeg":
            picture.jpegsave_target(to, Q=form.quality, subsample_mode="off", keep=_KEPT)
        else:
            picture.webpsave_target(
                to, Q=form.quality, lossless=form.lossless, smart_subsample=True, exact=True, keep=_KEPT
            )


def _encode_tiff(picture: pyvips.Image, to: pyvips.Target, form: FileForm) -> None:
    """Horizontal differences (predictor 2) before compression; a pyramid's smaller pictures in
    sub-directories, where programs that know nothing of them see one picture and not many pages."""
    layout = {"tile": True, "tile_width": TIFF_TILE, "tile_height": TIFF_TILE}
    if form.pyramid:
        layout |= {"pyramid": True, "subifd": True}
    picture.tiffsave_target(
        to,
        compression=form.compression,
        predictor="horizontal",
        bigtiff=_is_big(picture, form),
        resunit="inch",
        keep="icc|xmp",
        **(layout if form.tiled else {"tile_height": _STRIP_ROWS}),
    )


def _is_big(picture: pyvips.Image, form: FileForm) -> bool:
    """Whether a TIFF may exceed 4 GiB, what cannot be compressed included."""
    size = Size(picture.width, picture.height)
    return tiff_bytes(size, picture.bands, form) > _CLASSIC_TIFF_BYTES


def tiff_bytes(size: Size, channels: int, form: FileForm) -> int:
    """The bytes of a TIFF's uncompressed pixels: whole tiles, and a third more for a pyramid."""
    width, height = size.width, size.height
    if form.tiled:
        width, height = (math.ceil(side / TIFF_TILE) * TIFF_TILE for side in (width, height))
    pixels = width * height
    if form.pyramid:  # each part has a quarter of the pixels, and half a tile a side to spare
        pixels += pixels // 3 + 2 * TIFF_TILE * (width + height)
    return pixels * channels * form.bit_depth // 8
