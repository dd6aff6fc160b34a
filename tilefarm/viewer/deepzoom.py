"""Pictures as Deep Zoom folders: JPEG tiles at every power of two, which a browser loads as it needs them.

The layout is that of Microsoft's Deep Zoom ("DZI"): level n is at most 2^n pixels long, the tile of column x
and row y of a level is NAME_files/LEVEL/X_Y.jpg, and neighbours overlap by a pixel on each inner side.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from tilefarm.errors import TilefarmError
from tilefarm.geometry import Size
from tilefarm.image.engine import quantised, raw_image, reason, saving
from tilefarm.image.resize import shrink
from tilefarm.image.thumbnail import fitted

TILE = 510
"""Pixels of a tile without its overlap; with both it is 512."""
OVERLAP = 1
QUALITY = 90


@dataclass(frozen=True)
class DeepZoom:
    """A picture that was written as tiles."""

    name: str
    """Of its folder, without `_files`; plain ASCII."""
    size: Size

    def record(self, prefix: str = "") -> dict[str, Any]:
        """What a viewer must know: the tiles' address, relative to the page, and a .dzi file's numbers."""
        return {
            "url": f"{prefix}{self.name}_files/",
            "width": self.size.width,
            "height": self.size.height,
            "tile": TILE,
            "overlap": OVERLAP,
        }


def write_tiles(image: pyvips.Image, folder: Path, name: str) -> DeepZoom:
    """Write an 8-bit sRGB image of three bands as `folder`/NAME_files and `folder`/NAME.dzi.

    The image streams: memory does not grow with it. Raises ResourceError where the disk is full,
    TilefarmError where the tiles cannot be written.
    """
    target = folder / name
    try:
        with saving(target):
            image.dzsave(
                os.fsencode(target),  # libvips takes bytes as they are; a str would have to be UTF-8
                layout="dz",
                suffix=f".jpg[Q={QUALITY}]",
                tile_size=TILE,
                overlap=OVERLAP,
                keep="none",
            )
    except pyvips.Error as error:
        raise TilefarmError(f"{target} cannot be written ({reason(error)})") from error
    (folder / f"{name}_files" / "vips-properties.xml").unlink(missing_ok=True)  # holds the date
    return DeepZoom(name, Size(image.width, image.height))


def canvas_tiles(canvas: Path, size: Size, folder: Path, name: str, most: int | None = None) -> DeepZoom:
    """The tiles of a raw canvas, clipped to 0..1 and rounded to 8 bits. Raises as `write_tiles`.

    `most`: pixels of the long side, to which it is shrunk where it is larger.
    """
    small = size if most is None else fitted(size, most)
    with raw_image(canvas, size) as image:
        # Clipped before it is shrunk, as the output is: values far outside 0..1 must not bleed.
        return write_tiles(quantised(shrink(image.clamp(), small), 255), folder, name)
