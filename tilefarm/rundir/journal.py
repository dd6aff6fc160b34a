"""The journal: one JSON line for each thing that is finished, durable before anyone relies on it.

Pixels go to disk first, then their line. A crash between the two repeats that piece of work; a torn
last line is what a crash while appending leaves behind, and is dropped. Every line carries its CRC-32.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tilefarm import __version__, faults
from tilefarm.errors import JobError, TilefarmError
from tilefarm.files import telling_when_full
from tilefarm.sealed import DamagedError, opened_json, sealed_json
from tilefarm.solve.contract import Precision
from tilefarm.solve.traffic import Traffic
from tilefarm.spec.file_form import DEFAULT_QUALITY, Compression
from tilefarm.spec.profile_names import Intent

FORMAT = 2
"""Of run folders. In format 1 lines have no sum."""


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
    format: int = 1


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
    gone_wrong: int = 0
    """Results with numbers that were not finite, thrown away by the worker since its last good one."""


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
    gone_wrong: int = 0
    """Of the exact method: passes over the pieces with numbers that were not finite."""
    moments_crc: tuple[int, int] | None = None
    """Of the canvases of Adam's means, where there are any."""
    traffic: Traffic | None = None
    """Of the exact method's committed evaluations."""


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
    alpha: bool = False
    """Whether it has the content's transparency."""
    sheet: str = ""
    """Its bleed and margin; empty where it has none."""
    profile: str = "srgb"
    """Its name, or the SHA-256 of its file."""
    intent: Intent = "relative"
    compression: Compression = "deflate"
    tiled: bool = True
    pyramid: bool = False
    quality: int = DEFAULT_QUALITY
    lossless: bool = False
    dither: bool = False
    """These eight are as in `FileForm`; their defaults say what versions wrote that did not record them."""
    provenance: bool = True
    """Whether it carries a record of how it was made. The default is of versions that wrote none: a picture
    that was delivered is not written again for it."""
    proof: str = ""
    """What its soft proof shows: the SHA-256 of the profile, the intent, the paper; empty for none."""
    seconds: float


Line = Annotated[
    Started | LevelStarted | TileDone | RoundDone | Exported,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[Started | LevelStarted | TileDone | RoundDone | Exported] = TypeAdapter(Line)


class DamagedLineError(TilefarmError):
    """A line of a journal is not what was written."""

    def __init__(self, path: Path, number: int, offset: int) -> None:
        self.number = number
        """From 1."""
        self.offset = offset
        """Bytes before the line."""
        super().__init__(
            f"line {number} of {path} is damaged; 'tilefarm resume {path.parent}' does again what is lost"
        )


def read_journal(path: Path) -> Iterator[Started | LevelStarted | TileDone | RoundDone | Exported]:
    """All complete lines in order.

    Raises DamagedLineError for a damaged line, JobError for one that a newer version has written.
    """
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    offset, has_sums = 0, False
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is torn or empty
        try:
            record, has_sum = opened_json(line)
        except DamagedError:
            raise DamagedLineError(path, number, offset) from None
        if has_sums and not has_sum:
            raise DamagedLineError(path, number, offset)
        has_sums = has_sum
        try:
            found = _ADAPTER.validate_json(record)
        except ValidationError:
            _refuse_newer(path, record)
            if has_sum:
                raise JobError(
                    f"line {number} of {path} is of a kind that tilefarm {__version__} does not know, so "
                    "another version has worked on that folder; go on with that one, or start anew elsewhere "
                    "with --run-dir"
                ) from None
            raise DamagedLineError(path, number, offset) from None
        if isinstance(found, Started):
            _refuse_newer(path, record)
        yield found
        offset += len(line) + 1


def _refuse_newer(path: Path, record: bytes) -> None:
    """Raise JobError for a first line of a later format, whatever else it holds."""
    try:
        first = json.loads(record)
    except (ValueError, RecursionError):
        return
    number = first.get("format", 1) if isinstance(first, dict) else 1
    if isinstance(number, int) and number > FORMAT:
        raise JobError(
            f"{path.parent} was made by a newer tilefarm (format {number}, this one reads up to {FORMAT}); "
            "install that version, or start anew elsewhere with --run-dir"
        )


def read_line(line: bytes) -> Started | LevelStarted | TileDone | RoundDone | Exported:
    """One line, without its end. Raises ValueError where it is damaged or not known here."""
    record, _ = opened_json(line)
    return _ADAPTER.validate_json(record)


def read_started(path: Path) -> Started | None:
    """The choices that a run was started with; None where it was not, or where they cannot be read."""
    try:
        with path.open("rb") as file:
            line = read_line(file.readline().rstrip(b"\n"))
    except (OSError, ValueError):  # damage and what is not valid are ones
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
            faults.reached("journal: created")

    def append(self, *lines: _Line) -> None:
        """Write lines and wait once until they are durable. Raises ResourceError where the disk is full."""
        records = [line.model_dump(exclude_none=True) for line in lines]
        texts = [sealed_json(json.dumps(record, separators=(",", ":"))) + "\n" for record in records]
        data = "".join(texts).encode()
        with telling_when_full(self._path):
            while data:  # the system may take a part, above all when the disk is nearly full
                data = data[os.write(self._descriptor, data) :]
            faults.reached(f"{records[0]['kind']}: line written")
            os.fsync(self._descriptor)
        faults.reached(f"{records[0]['kind']}: line synced")

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
