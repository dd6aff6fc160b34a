"""The journal: one JSON line for each thing that is finished, durable before anyone relies on it.

Pixels go to disk first, then their line. A crash between the two repeats that piece of work; a torn
last line is what a crash while appending leaves behind, and is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tilefarm.errors import TilefarmError
from tilefarm.files import telling_when_full
from tilefarm.solve.contract import Precision


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Started(_Line):
    """The first line: choices that were made once and decide the pixels."""

    kind: Literal["started"] = "started"
    version: str
    weights_sha256: str
    precision: Precision
    batch: int
    core: int = 512
    """Pixels of a side of the exact method's pieces without their halo."""


class LevelStarted(_Line):
    """A level's starting canvas and its targets are on disk."""

    kind: Literal["level"] = "level"
    level: int
    canvas_crc: int
    targets_crc: int
    seconds: float
    planes: int = 1
    """Pictures in a tile's slot: with Adam its two means beside the tile."""
    moments_crc: tuple[int, int] | None = None
    """Of the canvases of Adam's means, where there are any."""


class TileDone(_Line):
    """A tile is in its slot."""

    kind: Literal["tile"] = "tile"
    level: int
    round: int
    tile: int
    crc: int
    loss_first: float
    loss_last: float
    rollbacks: int
    attempts: int


class RoundDone(_Line):
    """All tiles of a round are blended into the canvas."""

    kind: Literal["round"] = "round"
    level: int
    round: int
    canvas_crc: int
    loss_first: float
    """Mean over the tiles of the total loss at their start."""
    loss_last: float
    seconds: float
    """Of the session that finished the round."""
    rollbacks: int = 0
    """Of the exact method's optimizer; those of tiles are in their own lines."""
    moments_crc: tuple[int, int] | None = None
    """Of the canvases of Adam's means, where there are any."""


class Exported(_Line):
    """The output file was written and checked."""

    kind: Literal["exported"] = "exported"
    path: str
    crc: int
    """CRC-32 of the file's bytes."""
    bit_depth: int
    dpi: float
    color: str = "style"
    """What was done to the canvas's colours."""
    seconds: float


Line = Annotated[
    Started | LevelStarted | TileDone | RoundDone | Exported,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[Started | LevelStarted | TileDone | RoundDone | Exported] = TypeAdapter(Line)


def read_journal(path: Path) -> Iterator[Started | LevelStarted | TileDone | RoundDone | Exported]:
    """All complete lines in order. Raises TilefarmError for a damaged line before the last."""
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is torn or empty
        try:
            yield _ADAPTER.validate_json(line)
        except ValidationError as error:
            raise TilefarmError(
                f"line {number} of {path} is damaged or from another version of tilefarm; "
                "remove the run folder to start anew"
            ) from error


def read_started(path: Path) -> Started | None:
    """The choices that a run was started with; None where it was not, or where they cannot be read."""
    try:
        with path.open("rb") as file:
            line = _ADAPTER.validate_json(file.readline())
    except (OSError, ValidationError):
        return None
    return line if isinstance(line, Started) else None


class Journal:
    """Appends lines; each call returns when the line is on the disk."""

    def __init__(self, path: Path) -> None:
        created = not path.exists()
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        _drop_torn_line(self._descriptor)
        if created:
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    def append(self, *lines: _Line) -> None:
        """Write lines and wait once until they are durable. Raises ResourceError where the disk is full."""
        records = [line.model_dump(exclude_none=True) for line in lines]
        texts = [json.dumps(record, separators=(",", ":")) + "\n" for record in records]
        data = "".join(texts).encode()
        with telling_when_full(self._path):
            while data:  # the system may take a part, above all when the disk is nearly full
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _drop_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size == 0:
        return
    tail = os.pread(descriptor, min(size, 1 << 20), max(0, size - (1 << 20)))
    keep = size - len(tail) + tail.rfind(b"\n") + 1
    if keep < size:
        os.ftruncate(descriptor, keep)
        os.fsync(descriptor)
