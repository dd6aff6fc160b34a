"""Small pictures of raw canvases, to look at while a run goes on."""

from __future__ import annotations

from pathlib import Path

import pyvips

from tilefarm.files import replacing
from tilefarm.geometry import Size
from tilefarm.image.engine import quantised, raw_image, saving
from tilefarm.image.resize import shrink


def write_preview(source: Path, size: Size, target: Path, long_side: int = 1024) -> None:
    """Write a raw canvas, clipped to 0..1, as an 8-bit sRGB PNG, shrunk to `long_side` but never enlarged.

    Replaces `target` atomically. Raises ResourceError where the disk is full.
    """
    small = size if size.long_side <= long_side else size.fit_long_side(long_side)
    with replacing(target) as temporary, raw_image(source, size) as image:
        # Clipped before it is shrunk, as the output is: values far outside 0..1 must not bleed.
        picture = quantised(shrink(image.clamp(), small), 255)
        with saving(target), temporary.open("wb") as file:
            to = pyvips.Target.new_to_descriptor(file.fileno())
            picture.pngsave_target(to, profile="srgb", keep="icc")
