"""libvips, set up once: which files it may open, how it reads and writes raw canvases, how it fails.

Everything here is lazy: an image is a recipe, and pixels flow in strips when it is saved.
"""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from tilefarm.errors import TilefarmError
from tilefarm.files import DISK_FULL, as_named, disk_full, reserve
from tilefarm.geometry import Size
from tilefarm.image.lab_tiff import open_lab_tiff
from tilefarm.image.window import CHANNELS, open_raw, raw_bytes

READABLE = "JPEG, PNG, TIFF, WebP, AVIF, HEIC or GIF"
_LAB_FAULT = "bad labq format"
_LOADERS = ("Jpeg", "Uhdr", "Png", "Tiff", "Webp", "Heif", "Nsgif")


def _set_up() -> None:
    # The cache would keep whole pictures alive and would miss that a file has changed.
    pyvips.cache_set_max(0)
    # An allow-list: libvips also opens SVG, CSV, its own dumps and, depending on the build, PDF,
    # camera raw files and all of ImageMagick, none of which should see a stranger's file.
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in _LOADERS:
        pyvips.operation_block_set(f"VipsForeignLoad{loader}", False)
    # pyvips hands libvips' warnings to `logging`, which would print them where a root logger is set.
    logging.getLogger("pyvips").propagate = False


_set_up()


def reason(error: pyvips.Error) -> str:
    """What libvips complained about, in one line."""
    lines = [line.strip() for line in str(error.detail).splitlines() if line.strip()]
    return lines[0] if lines else "the decoder does not say why"


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What libvips says within the block without failing: its warnings, and errors that it went on after.

    The decoder of tiled TIFF files paints tiles that it cannot read black, whatever it is told, and only a
    line in the log and the text of the last error know of it.
    """
    heard: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pyvips")
    logger.addHandler(listener)
    pyvips.vips_lib.vips_error_clear()
    try:
        yield heard
        heard.extend(
            pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()).decode("utf-8", "replace").splitlines()
        )
        pyvips.vips_lib.vips_error_clear()
    finally:
        logger.removeHandler(listener)


def open_picture(path: Path, **options: Any) -> pyvips.Image:
    """Open a picture by its first bytes, whatever it is called; only the header is read.

    Options go to the loader (access, fail_on). Raises pyvips.Error for anything that is not on the
    allow-list or has a damaged header, OSError where the file cannot be read.
    """
    with path.open("rb") as file:  # a descriptor, since libvips takes names in UTF-8 only
        source = pyvips.Source.new_from_descriptor(file.fileno())
    try:
        return pyvips.Image.new_from_source(source, "", **options)
    except pyvips.Error as error:
        if _LAB_FAULT in str(error.detail):
            return open_lab_tiff(path, **options)
        raise


@contextmanager
def raw_image(path: Path, size: Size) -> Iterator[pyvips.Image]:
    """A raw canvas as a 3-band float image, mapped and not copied, to be used inside the block only.

    The pages that a pipeline has read are given back as it proceeds; otherwise the whole canvas
    would count as this process's memory by the end. Raises TilefarmError as `open_raw` does.
    """
    canvas = open_raw(path, size)
    image = pyvips.Image.new_from_memory(canvas, size.width, size.height, CHANNELS, "float")
    mapping: mmap.mmap | None = getattr(canvas, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):

        def forget(*_: object) -> None:
            mapping.madvise(mmap.MADV_DONTNEED)

        image.set_progress(True)
        image.signal_connect("eval", forget)
    # The handler lives as long as this Python object: libvips would call a dead one after the block.
    try:
        yield image
    finally:
        image.set_progress(False)


def save_raw(image: pyvips.Image, path: Path) -> None:
    """Stream a 3-band float image into a raw canvas file; its space is reserved first.

    Raises ResourceError where the disk is full, TilefarmError where the file cannot be written, and
    pyvips.Error where the image's source cannot be read.
    """
    reserve(path, raw_bytes(Size(image.width, image.height)))
    with saving(path), path.open("r+b") as file:
        image.rawsave_target(pyvips.Target.new_to_descriptor(file.fileno()))


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn a full disk, or a file that cannot be written, into the project's errors.

    Other errors of libvips pass: only the caller knows whether its source was a stranger's file.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full(path) from error
        raise TilefarmError(f"{as_named(path)} cannot be written ({error.strerror or error})") from error
    except pyvips.Error as error:
        if any(os.strerror(number) in str(error.detail) for number in DISK_FULL):
            raise disk_full(path) from error
        raise


def quantised(image: pyvips.Image, white: int) -> pyvips.Image:
    """Clip a float image to 0..1 and round it to integers 0..white, white being 255 or 65535."""
    kind = ("uchar", "srgb") if white == np.iinfo(np.uint8).max else ("ushort", "rgb16")
    return image.clamp().linear(white, 0).rint().cast(kind[0]).copy(interpretation=kind[1])
