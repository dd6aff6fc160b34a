"""Pixels as a TIFF, PNG, JPEG or WebP file, streamed by libvips."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pyvips

from tilefarm.geometry import Size
from tilefarm.output.zstd_tiff import write_zstd_tiff
from tilefarm.spec.file_form import FileForm

TIFF_TILE = 256
_TILE = {"tile_width": TIFF_TILE, "tile_height": TIFF_TILE}
_STRIP_ROWS = 32
_CLASSIC_TIFF_BYTES = 2**32 - 2**26
_DEFLATE_LEVEL = 6
_KEPT = "icc|xmp|exif"
"""Of the metadata: libvips puts a JPEG's and a WebP's resolution into EXIF."""


_WEBP_BYTES = {(False, 3): 26, (True, 3): 48, (False, 4): 64, (True, 4): 64}
"""Of memory per pixel, by lossless and channels: a tenth more than libwebp was measured to take."""


def encoder_bytes(form: FileForm, size: Size, channels: int) -> int:
    """What the encoder holds of the picture: a WebP's all of it, others some rows."""
    return _WEBP_BYTES[form.lossless, channels] * size.pixels if form.format == "webp" else 0


def encode(picture: pyvips.Image, path: Path, form: FileForm) -> None:
    """Write 8 or 16-bit pixels, RGB or RGBA, with the metadata that they carry, into a new file.

    Raises OSError and pyvips.Error where the file cannot be written.
    """
    if form.format == "tiff" and form.compression == "zstd":
        write_zstd_tiff(picture, path, form, TIFF_TILE, bigtiff=_is_big(picture, form))
        return
    with path.open("w+b") as file:  # TIFF is read while it is written
        to = pyvips.Target.new_to_descriptor(file.fileno())
        if form.pyramid:
            _encode_pyramid(picture, path, file.fileno(), form)
        elif form.format == "tiff":
            layout = {"tile": True, **_TILE} if form.tiled else {"tile_height": _STRIP_ROWS}
            picture.tiffsave_target(to, **_tiff_options(picture, form), **layout)
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


def _tiff_options(picture: pyvips.Image, form: FileForm) -> dict[str, Any]:
    """Horizontal differences (predictor 2) before compression."""
    return {
        "compression": form.compression,
        "predictor": "horizontal",
        "bigtiff": _is_big(picture, form),
        "resunit": "inch",
        "keep": "icc|xmp",
    }


def _encode_pyramid(picture: pyvips.Image, path: Path, descriptor: int, form: FileForm) -> None:
    """The smaller pictures go into sub-directories, where programs that know nothing of them see one picture
    and not many pages. They are made in working files without names, beside the output."""
    with _working_files_in(path.parent):
        # By name: with a mere target libvips keeps the smaller pictures in memory.
        picture.tiffsave(
            f"/dev/fd/{descriptor}",
            tile=True,
            **_TILE,
            pyramid=True,
            subifd=True,
            **_tiff_options(picture, form),
        )


@contextmanager
def _working_files_in(folder: Path) -> Iterator[None]:
    """libvips makes its working files where TMPDIR says, which often is memory."""
    gettempdir()  # Python's own choice is made once, and not here
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


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
