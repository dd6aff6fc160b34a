"""The two pictures of the page: the canvas as it grows, and the content, both as deep-zoom tiles.

What a display costs is bounded: a new version of the canvas is made when a hundred times the processor time
has passed that the last one took, its tiles for all viewers included.
"""

from __future__ import annotations

import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from tilefarm.errors import TilefarmError
from tilefarm.geometry import Box, Size
from tilefarm.image.decode import inspect
from tilefarm.image.resize import write_content
from tilefarm.image.window import open_raw
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.spec.load import load_job
from tilefarm.viewer.sources import Source, find_source, readable
from tilefarm.viewer.zoom_pyramid import Pyramid, Read

REST = 100
"""Seconds between two versions for each second of processor time that the last one took."""
CACHE_BYTES = 32 * 2**20
CONTENT_SIDE = 3072


@dataclass
class _Version:
    name: str
    source: Source
    pyramid: Pyramid
    made: float
    """When, by the monotonic clock."""
    spent: float
    """Processor seconds of this process when it was begun."""


class LivePicture:
    """The newest version of a run's canvas. Not to be used by two threads at a time."""

    def __init__(
        self,
        prefix: str,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.process_time,
    ) -> None:
        """`prefix` sets the versions' names apart from those of other runs."""
        self._prefix = prefix
        self._clock = clock
        self._spent = spent
        self._count = 0
        self._version: _Version | None = None
        self._tiles: OrderedDict[tuple[str, int, int, int], bytes] = OrderedDict()
        self._bytes = 0

    def look(self, run: RunDir, plan: Mapping[str, Any], state: RunState, at_work: bool) -> None:
        """Make a new version where there is news, but while a driver is at work only when it is time."""
        source = find_source(run, plan, state)
        if source is None or not readable(source):
            self._version = None
            return
        now = self._version
        if now is not None and now.source.stamp == source.stamp and now.source.path == source.path:
            return
        if now is not None and at_work and self._clock() < now.made + REST * (self._spent() - now.spent):
            return
        spent = self._spent()
        with suppress(TilefarmError, OSError, ValueError):  # it has just gone: the next look finds another
            pyramid = Pyramid(source.inside.size, source.read)
            self._count += 1
            name = f"{self._prefix}-{self._count}"
            self._version = _Version(name, source, pyramid, self._clock(), spent)
            self._tiles.clear()
            self._bytes = 0

    def record(self) -> dict[str, Any] | None:
        """What the page needs to know of it."""
        if self._version is None:
            return None
        size = self._version.source.inside.size
        return {"version": self._version.name, "width": size.width, "height": size.height}

    def tile(self, name: str, level: int, column: int, row: int) -> bytes | None:
        """A tile's JPEG file; None where there is none of that name."""
        version = self._version
        if version is None or version.name != name:
            return None
        key = (name, level, column, row)
        if key in self._tiles:
            self._tiles.move_to_end(key)
            return self._tiles[key]
        try:
            data = version.pyramid.tile(level, column, row)
        except (TilefarmError, OSError, ValueError):  # the canvas has gone meanwhile
            return None
        if data is not None:
            self._keep(key, data)
        return data

    def _keep(self, key: tuple[str, int, int, int], data: bytes) -> None:
        self._tiles[key] = data
        self._bytes += len(data)
        while self._bytes > CACHE_BYTES:
            self._bytes -= len(self._tiles.popitem(last=False)[1])


class ContentPicture:
    """The content in the shape of the output, decoded once, when it is first asked for. Thread-safe."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._pyramid: Pyramid | None = None
        self._failed = False
        self._lock = Lock()

    def size(self, plan: Mapping[str, Any]) -> dict[str, Any] | None:
        """What it is shown at; None where it is not known yet, or cannot be shown."""
        if self._failed or "output" not in plan:
            return None
        size = content_size(plan)
        return {"width": size.width, "height": size.height}

    def tile(self, plan: Mapping[str, Any], level: int, column: int, row: int) -> bytes | None:
        """A tile's JPEG file; None where there is none, or no content any more."""
        if "output" not in plan:
            return None
        with self._lock:
            if self._pyramid is None and not self._failed:
                try:
                    self._pyramid = _content(self._run, plan)
                except (
                    TilefarmError,
                    OSError,
                    ValueError,
                ):  # moved away, or another one by now
                    self._failed = True
        return None if self._pyramid is None else self._pyramid.tile(level, column, row)


def content_size(plan: Mapping[str, Any]) -> Size:
    """The output's shape, at most `CONTENT_SIDE` pixels long."""
    size = Size(plan["output"]["width"], plan["output"]["height"])
    return size if size.long_side <= CONTENT_SIDE else size.fit_long_side(CONTENT_SIDE)


def _content(run: RunDir, plan: Mapping[str, Any]) -> Pyramid:
    job = load_job(run.job, kept=True)
    size, crop = content_size(plan), Box(*plan["crop"])
    with tempfile.TemporaryDirectory(prefix="tilefarm-watch-") as folder:
        raw = Path(folder) / "content.f32"
        write_content(inspect(job.content, "content"), crop, size, raw)
        return Pyramid(size, _reader(raw, size), size.long_side)


def _reader(raw: Path, size: Size) -> Read:
    canvas = open_raw(raw, size)
    return lambda box: np.array(canvas[box.top : box.bottom, box.left : box.right])
