"""Where the picture of a run is to be seen at this moment, and its pixels.

It is read while the driver writes: a region may be half old and half new, which the next look makes good.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilefarm.errors import TilefarmError
from tilefarm.geometry import Box, Size
from tilefarm.image.window import CHANNELS, RAW_DTYPE, open_raw, raw_bytes
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.sealed import opened_json


@dataclass(frozen=True)
class Slots:
    """Tiles of the round in progress that are solved, and not blended yet."""

    path: Path
    tile: Size
    planes: int
    places: Mapping[int, tuple[int, int]]
    """Tile -> its left and top in the level's pixels."""

    def paste(self, box: Box, pixels: NDArray[np.float32]) -> None:
        """Put the tiles' middles over `pixels`, the level's region `box`; blended, tiles overlap."""
        width, height = self.tile.width, self.tile.height
        slot_bytes = self.planes * raw_bytes(self.tile)
        for index, (left, top) in self.places.items():
            middle_left, middle_top = left + width // 4, top + height // 4
            x0, x1 = max(box.left, middle_left), min(box.right, middle_left + width // 2)
            y0, y1 = max(box.top, middle_top), min(box.bottom, middle_top + height // 2)
            if x0 < x1 and y0 < y1:
                inside = Box(x0 - left, y0 - top, x1 - left, y1 - top)
                part = read_raw(self.path, width, inside, index * slot_bytes)
                pixels[y0 - box.top : y1 - box.top, x0 - box.left : x1 - box.left] = part


@dataclass(frozen=True)
class Source:
    """A raw picture of which a part is shown."""

    path: Path
    size: Size
    """Of the file's picture."""
    inside: Box
    """What is shown of it."""
    stamp: tuple[Any, ...]
    """Changes when the picture does."""
    slots: Slots | None = field(default=None, compare=False)

    def read(self, box: Box) -> NDArray[np.float32]:
        """The shown part's region `box`, shape (height, width, 3), float32, not clipped.

        Raises TilefarmError and OSError where the file has gone or is another one by now.
        """
        left, top = self.inside.left, self.inside.top
        shown = Box(left + box.left, top + box.top, left + box.right, top + box.bottom)
        pixels = read_raw(self.path, self.size.width, shown)
        if self.slots is not None:
            self.slots.paste(box, pixels)
        return pixels


def read_raw(path: Path, width: int, box: Box, offset: int = 0) -> NDArray[np.float32]:
    """The region `box` of a raw picture that is `width` pixels wide and begins `offset` bytes into a file.

    Read and not mapped: a mapped file that its driver cuts off meanwhile ends the process (SIGBUS). Raises
    TilefarmError where it is too short, OSError where it has gone.
    """
    item = CHANNELS * RAW_DTYPE.itemsize
    rows = np.empty((box.height, box.width * item), np.uint8)
    whole = box.width == width  # then the rows are one stretch
    with path.open("rb", buffering=0) as file:
        for number, part in enumerate([rows.reshape(-1)] if whole else rows):
            file.seek(offset + ((box.top + number) * width + box.left) * item)
            if file.readinto(part) != part.size:  # type: ignore[arg-type]
                raise TilefarmError(f"{path} ends within the picture")
    return rows.view(RAW_DTYPE).reshape(box.height, box.width, CHANNELS)


def find_source(run: RunDir, plan: Mapping[str, Any], state: RunState) -> Source | None:
    """The finest picture that there is; None before the first."""
    for index in reversed(range(len(plan.get("levels", [])))):
        if index in state.levels:
            level = plan["levels"][index]
            source = _exact_point(run, index, level) or _canvas(run, index, level, state)
            if source is not None:
                return source
    return None


def _exact_point(run: RunDir, index: int, level: Mapping[str, Any]) -> Source | None:
    """The point of the exact method's optimizer; None where it is not at work on this level."""
    folder = run.optimizer(index)
    try:
        record = json.loads(opened_json((folder / "state.json").read_bytes())[0])
        path = folder / f"x{record['current']}.f32"
        stamp = (index, "step", record["iteration"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    size = Size(level["tile_width"], level["tile_height"])
    left, top = level["padding"]["left"], level["padding"]["top"]
    inside = Box(left, top, left + level["width"], top + level["height"])
    return Source(path, size, inside, stamp) if path.is_file() else None


def _canvas(run: RunDir, index: int, level: Mapping[str, Any], state: RunState) -> Source | None:
    path, size = run.canvas(index), Size(level["width"], level["height"])
    if not path.is_file():
        return None
    number = state.rounds_done(index)
    done = state.tiles_done(index, number)
    slots = None
    if done and level["tiles"] > 1 and run.tiles.is_file():
        places = {tile: _place(level, tile) for tile in done if 0 <= tile < level["tiles"]}
        slots = Slots(
            run.tiles,
            Size(level["tile_width"], level["tile_height"]),
            state.levels[index].planes,
            places,
        )
    return Source(path, size, Box.of(size), (index, number, len(done)), slots)


def _place(level: Mapping[str, Any], tile: int) -> tuple[int, int]:
    row, column = divmod(tile, level["columns"])
    left = column * (level["tile_width"] // 2) - level["padding"]["left"]
    return left, row * (level["tile_height"] // 2) - level["padding"]["top"]


def readable(source: Source) -> bool:
    """Whether its file is there and as long as it should be."""
    try:
        open_raw(source.path, source.size)
    except (TilefarmError, OSError):
        return False
    return True
