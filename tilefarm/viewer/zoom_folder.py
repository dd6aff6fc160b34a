"""Pictures as Deep Zoom folders: JPEG tiles at every power of two, which a browser loads as it needs them.

The layout is that of Microsoft's Deep Zoom ("DZI"): the tile of column x and row y of a level is
NAME_files/LEVEL/X_Y.jpg, and neighbours overlap by a pixel on each inner side.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyvips
from PIL import Image

from tilefarm.errors import TilefarmError
from tilefarm.files import disk_full
from tilefarm.geometry import Size
from tilefarm.image.engine import quantised, raw_image, reason, saving
from tilefarm.image.thumbnail import fitted
from tilefarm.viewer.zoom_levels import highest_level, next_coarser

TILE = 510
"""Pixels of a tile without its overlap; with both it is 512."""
OVERLAP = 1
QUALITY = 90
_END_OF_IMAGE = b"\xff\xd9"


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
    zoom = DeepZoom(name, Size(image.width, image.height))
    if not _is_whole(zoom, folder):
        raise disk_full(target)
    return zoom


def _is_whole(zoom: DeepZoom, folder: Path) -> bool:
    """Whether every tile is there and ends as a JPEG file does: libvips says nothing where a disk is full."""
    description, size = (folder / f"{zoom.name}.dzi").read_bytes(), zoom.size
    if not description.rstrip().endswith(b"</Image>"):
        return False
    for level in range(highest_level(size), -1, -1):
        tiles = [*(folder / f"{zoom.name}_files" / str(level)).glob("*.jpg")]
        if len(tiles) != -(-size.width // TILE) * -(-size.height // TILE) or not all(map(_ends, tiles)):
            return False
        size = next_coarser(size)
    return True


def _ends(tile: Path) -> bool:
    with tile.open("rb") as file:
        file.seek(max(0, tile.stat().st_size - len(_END_OF_IMAGE)))
        return file.read() == _END_OF_IMAGE


def canvas_tiles(canvas: Path, size: Size, folder: Path, name: str) -> DeepZoom:
    """The tiles of a raw canvas, clipped to 0..1 and rounded to 8 bits. Raises as `write_tiles`."""
    with raw_image(canvas, size) as image:
        return write_tiles(quantised(image, 255), folder, name)


def without_fine_levels(zoom: DeepZoom, folder: Path, most: int) -> DeepZoom:
    """Remove the levels with more than `most` pixels a side; what is left is a Deep Zoom folder, too."""
    (folder / f"{zoom.name}.dzi").unlink()  # of the whole picture
    while zoom.size.long_side > most:
        shutil.rmtree(folder / f"{zoom.name}_files" / str(highest_level(zoom.size)))
        zoom = replace(zoom, size=next_coarser(zoom.size))
    return zoom


def write_small_copy(zoom: DeepZoom, folder: Path, target: Path, side: int) -> Size:
    """Write a picture's tiles as one small JPEG, at most `side` pixels long; returns its size.

    It is made of the coarsest level that has as many pixels: a pass over a large canvas for it would
    take longer, and hundreds of megabytes, since libvips holds all the rows that a small one is made of.
    """
    size = zoom.size
    while next_coarser(size).long_side >= side and size.long_side > side:
        size = next_coarser(size)
    place = folder / f"{zoom.name}_files" / str(highest_level(size))
    whole = Image.new("RGB", (size.width, size.height))
    for tile in place.iterdir():
        column, row = map(int, tile.stem.split("_"))
        with Image.open(tile) as picture:
            whole.paste(picture, (max(0, column * TILE - OVERLAP), max(0, row * TILE - OVERLAP)))
    small = fitted(size, side)
    target.parent.mkdir(parents=True, exist_ok=True)
    whole.resize((small.width, small.height), Image.Resampling.LANCZOS).save(target, quality=QUALITY)
    return small
