"""Pictures and canvases at other sizes, streamed through libvips in floating point."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pyvips

from tilefarm.files import replacing
from tilefarm.geometry import Box, Size
from tilefarm.image.decode import PictureInfo, open_stored, reading
from tilefarm.image.engine import raw_image, save_raw
from tilefarm.image.orientation import orient_raw


def write_content(
    info: PictureInfo,
    crop: Box,
    size: Size,
    target: Path,
    *,
    part: Literal["colour", "alpha"] = "colour",
) -> None:
    """Write the part `crop` of the upright picture, or its alpha, as a raw canvas of exactly `size`.

    Each axis is scaled on its own: Lanczos-3 with antialiasing where it shrinks, bicubic where it
    grows. Values are sRGB; the kernels can overshoot 0..1 a little and nothing is clipped. The picture
    is read once from top to bottom, so that memory does not grow with it. Raises ResourceError where
    the disk is full, JobError where the picture has changed since it was inspected.
    """
    whole = Box.of(info.size)
    if crop.left < 0 or crop.top < 0 or crop.right > whole.right or crop.bottom > whole.bottom:
        raise ValueError(f"{crop} is not inside a picture of {info.size}")
    turn = info.orientation.turn
    stored_crop = info.orientation.to_stored(crop, info.size)
    picture = open_stored(info, part).crop(
        stored_crop.left, stored_crop.top, stored_crop.width, stored_crop.height
    )
    small = Size(min(crop.width, size.width), min(crop.height, size.height))
    shrunk = shrink(picture, turn(small))
    with replacing(target) as temporary:
        if small == size and info.orientation.upright:
            with reading(info):
                save_raw(shrunk, temporary)
            return
        # Turning and enlarging need pixels out of order, which a decoder cannot give: shrink first,
        # and do the rest from a file that is no larger than the result.
        with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            stored, upright = Path(folder) / "stored.raw", Path(folder) / "upright.raw"
            with reading(info):
                save_raw(shrunk, stored)
            if info.orientation.upright:
                upright = stored
            else:
                orient_raw(stored, turn(small), info.orientation, upright)
            with raw_image(upright, small) as image:
                save_raw(_enlarged(image, size), temporary)


def enlarge(
    source: Path,
    source_size: Size,
    target: Path,
    size: Size,
    *,
    interpolation: Literal["bicubic", "bilinear"] = "bicubic",
    factor: float = 1.0,
) -> None:
    """Write the raw canvas `source` as a larger one: nothing clipped, times `factor`, durably replaced.

    Pixel centres are aligned: a linear ramp stays the same ramp to 1/128 of a source pixel (libvips'
    table of kernel phases), a constant stays exactly constant. Raises ResourceError where the disk is full.
    """
    if size.width < source_size.width or size.height < source_size.height:
        raise ValueError(f"{size} is smaller than {source_size}")
    with replacing(target) as temporary, raw_image(source, source_size) as image:
        enlarged = _enlarged(image, size, interpolation)
        save_raw(enlarged if factor == 1 else (enlarged * factor).cast("float"), temporary)


def shrink(image: pyvips.Image, size: Size) -> pyvips.Image:
    """An image made smaller on either axis with a Lanczos-3 kernel as wide as the reduction asks."""
    if (image.width, image.height) == (size.width, size.height):
        return image
    return image.resize(size.width / image.width, vscale=size.height / image.height, kernel="lanczos3")


def fitted(image: pyvips.Image, size: Size) -> pyvips.Image:
    """An image in exactly this size: each axis shrunk or enlarged as above."""
    small = Size(min(image.width, size.width), min(image.height, size.height))
    return _enlarged(shrink(image, small), size)


def _enlarged(image: pyvips.Image, size: Size, interpolation: str = "bicubic") -> pyvips.Image:
    """An image made larger on either axis with Catmull and Rom's cubic (Keys 1981, a = -1/2), or linearly."""
    if (image.width, image.height) == (size.width, size.height):
        return image
    scale_x, scale_y = size.width / image.width, size.height / image.height
    return image.affine(
        [scale_x, 0, 0, scale_y],
        interpolate=pyvips.Interpolate.new(interpolation),
        oarea=[0, 0, size.width, size.height],
        # libvips puts a pixel's centre at its corner; this puts (x + 0.5) * scale at x + 0.5.
        odx=(scale_x - 1) / 2,
        ody=(scale_y - 1) / 2,
        extend="copy",
        premultiplied=True,
    )
