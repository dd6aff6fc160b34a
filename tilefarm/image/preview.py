"""Small pictures of canvases, to look at while a run goes on, and of which its animation is made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

from tilefarm.files import replacing
from tilefarm.geometry import Box, Size
from tilefarm.image.engine import quantised, raw_image, saving
from tilefarm.image.resize import shrink

_SNAPSHOT_QUALITY = 92


def write_preview(source: Path, size: Size, target: Path, long_side: int = 1024) -> None:
    """Write a raw canvas, clipped to 0..1, as an 8-bit sRGB PNG, shrunk to `long_side` but never enlarged.

    Replaces `target` atomically. Raises ResourceError where the disk is full.
    """
    with replacing(target) as temporary, raw_image(source, size) as image:
        picture = _small(image, long_side)
        with saving(target), temporary.open("wb") as file:
            to = pyvips.Target.new_to_descriptor(file.fileno())
            picture.pngsave_target(to, profile="srgb", keep="icc")


def write_snapshot(source: Path, size: Size, inside: Box, target: Path, long_side: int) -> None:
    """Write the part `inside` of a raw canvas of `size` like a preview, but as a JPEG.

    The canvas streams: memory does not grow with it. `target` is written in place: it is the caller's
    temporary file, and errors of the disk are told by the name that it will have.
    """
    with raw_image(source, size) as image:
        part = image.crop(inside.left, inside.top, inside.width, inside.height)
        picture = _small(part, long_side)
        with target.open("wb") as file:
            to = pyvips.Target.new_to_descriptor(file.fileno())
            picture.jpegsave_target(to, Q=_SNAPSHOT_QUALITY, subsample_mode="off", profile="srgb")


def encode_snapshot(picture: NDArray[np.float32], long_side: int) -> bytes:
    """A picture in memory, (height, width, 3), float32, 0..1, as the bytes that `write_snapshot` writes."""
    height, width, bands = picture.shape
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(picture), width, height, bands, "float")
    encoded = _small(image, long_side).jpegsave_buffer(
        Q=_SNAPSHOT_QUALITY, subsample_mode="off", profile="srgb"
    )
    return bytes(encoded)


def _small(image: pyvips.Image, long_side: int) -> pyvips.Image:
    """Shrunk to `long_side` but never enlarged, in 8 bits."""
    size = Size(image.width, image.height)
    small = size if size.long_side <= long_side else size.fit_long_side(long_side)
    # Clipped before it is shrunk, as the output is: values far outside 0..1 must not bleed.
    return quantised(shrink(image.clamp(), small), 255)
