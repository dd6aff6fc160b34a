"""The record of how a picture was made, which it carries, and which a job can be made of again.

It is YAML inside the picture's XMP packet. It tells places only relative to the picture's own folder: what
is handed on must not say where its maker keeps things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from xml.sax.saxutils import escape

import pyvips
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import tilefarm
from tilefarm.errors import JobError
from tilefarm.geometry import Box, Size
from tilefarm.image.engine import READABLE, open_picture, reason
from tilefarm.image.xmp import BadPacketError, packet, packet_of, record_in
from tilefarm.rundir.inputs import input_hashes
from tilefarm.rundir.journal import Started
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.fingerprint import file_sha256
from tilefarm.spec.model import Job
from tilefarm.spec.paper import Print
from tilefarm.spec.sheet import Sheet
from tilefarm.spec.yaml_source import parse
from tilefarm.spec.yaml_writer import write_yaml

FORMAT = 1
"""Of records."""
_LONGEST_PLACE = 800
"""Bytes in XML: 51 files at most, and all of the record must fit into a segment of a JPEG file."""
_TARGETS = ("output.path", "animation.path")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, Field(max_length=100)]
_Side = Annotated[int, Field(ge=1, le=2**31)]


@dataclass(frozen=True)
class Made:
    """What a file is, beside what its job says."""

    whole: Size
    """Of the file that the job asks for."""
    sheet: Sheet
    """The file itself."""
    paper: Print | None = None
    """The sheet of paper that it is for."""


class Record(BaseModel):
    """What a picture says about its making."""

    model_config = ConfigDict(frozen=True, strict=True)

    format: int
    tilefarm: _Text
    """The version that wrote the file."""
    torch: _Text
    weights_sha256: _Text | None = None
    batch: int | None = None
    """Tiles that a worker solved together."""
    core: int | None = None
    """Pixels of a side of the exact method's pieces."""
    canvas: Annotated[list[_Side], Field(min_length=2, max_length=2)]
    """Width and height of the file that the job asks for."""
    picture: Annotated[list[_Side], Field(min_length=2, max_length=2)]
    """Width and height of this file: an export may be smaller."""
    trim: Annotated[list[int], Field(min_length=4, max_length=4)] | None = None
    """Left, top, right and bottom of what is left when the bleed is cut off, in pixels; None: all."""
    paper: dict[str, _Text] | None = None
    """Width and height of the sheet when it has been cut, and its bleed, with their units."""
    recolored: _Text | None = None
    """The colour step of `tilefarm recolor`, where the job cannot say it."""
    inputs: Annotated[dict[str, Sha256], Field(max_length=100)]
    """By key, the SHA-256 of every file that the job reads."""
    job: dict[str, Any]
    """With every key but what says where to write, and on what machine to work; not yet checked."""


def packet_for(
    job: Job,
    run: RunDir,
    started: Started | None,
    made: Made,
    path: Path,
    recolored: str | None = None,
) -> bytes:
    """The XMP packet of the file `path`, made from a run's finished canvas.

    `recolored`: a colour step that the job does not say. The same run and job give the same bytes, wherever
    they are. Raises JobError where an input that is not on record cannot be read.
    """
    size, trim, paper = made.sheet.size, made.sheet.trim, made.paper
    data = job.model_dump(mode="json")
    files = dict(files_of(job))
    for key, file in files.items():
        put(data, key, _place(file, path.parent, key))
    del data["output"]["path"]
    del data["output"]["address"]
    data["compute"] = {"precision": started.precision if started else job.compute.precision}
    if job.animation is not None:
        data["animation"]["path"] = job.animation.path.name
        del data["animation"]["address"]
    known = input_hashes(run, job)
    record = {
        "format": FORMAT,
        "tilefarm": tilefarm.__version__,
        "torch": version("torch"),
        "weights_sha256": started.weights_sha256 if started else None,
        "batch": started.batch if started else None,
        "core": started.core if started else None,
        "canvas": [made.whole.width, made.whole.height],
        "picture": [size.width, size.height],
        "trim": None if trim == Box.of(size) else [trim.left, trim.top, trim.right, trim.bottom],
        "paper": None
        if paper is None
        else paper.model_dump(mode="json", include={"width", "height", "bleed"}),
        "recolored": recolored,
        "inputs": {key: known.get(key) or file_sha256(file) for key, file in files.items()},
        "job": data,
    }
    return packet(job.name, f"tilefarm {tilefarm.__version__}", write_yaml(record))


def files_of(job: Job) -> Iterator[tuple[str, Path]]:
    """(key, path) of every file that a job names and does not write."""
    for key, value in _leaves(job.model_dump()):
        if isinstance(value, Path) and key not in _TARGETS:
            yield key, value


def read_record(path: Path) -> Record:
    """The record that a picture carries. Raises JobError, a sentence, where it has none that can be read."""
    if not path.is_file():
        state = "is no file" if path.exists() else "does not exist"
        raise JobError(f"{path} {state}; name a picture that tilefarm has made")
    try:
        image = open_picture(path)
    except OSError as error:
        raise JobError(f"{path} cannot be read ({error.strerror})") from error
    except pyvips.Error as error:
        raise JobError(f"{path} is not a {READABLE} picture, or it is damaged ({reason(error)})") from error
    record = record_of(image, path)
    if record is None:
        raise JobError(
            f"{path} carries no record of how it was made: another program has made it, or saved it anew, or "
            "its job said output.provenance: false; submit a job file instead"
        )
    return record


def record_of(image: pyvips.Image, path: Path) -> Record | None:
    """The record of a picture that is open already; None for none. Raises JobError for a bad one."""
    data = packet_of(image)
    if data is None:
        return None
    try:
        text = record_in(data)
    except BadPacketError as error:
        raise JobError(
            f"{path} carries XMP that cannot be read: {error}; submit a job file instead"
        ) from None
    return None if text is None else _parsed(text, path)


def _parsed(text: str, path: Path) -> Record:
    document = parse(text, f"the record in {path}")
    data = document.data
    number = data.get("format") if isinstance(data, Mapping) else None
    if isinstance(number, int) and number > FORMAT:
        raise JobError(
            f"the record in {path} was written by a newer tilefarm (format {number}, this one reads up to "
            f"{FORMAT}); install that version"
        )
    problems = [f"line {line}: {problem}" for line, problem in document.problems]
    if not problems:
        try:
            return Record.model_validate(data)
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    raise JobError(
        f"the record in {path} is not as tilefarm writes it ({problems[0]}); submit a job file instead"
    )


def _place(file: Path, folder: Path, key: str) -> str:
    """Where a file is, seen from the picture's folder: only its name where it is outside of that."""
    real, home = file.parent.resolve() / file.name, folder.resolve()
    places = [real.relative_to(home).as_posix()] if real.is_relative_to(home) else []
    return next((place for place in (*places, file.name) if _bytes(place) <= _LONGEST_PLACE), key)


def _bytes(place: str) -> int:
    return len(escape(write_yaml(place)).encode())


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        items = [(str(name), each) for name, each in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(number), each) for number, each in enumerate(value)]
    else:
        yield key, value
        return
    for name, each in items:
        yield from _leaves(each, f"{key}.{name}" if key else name)


def put(data: Any, key: str, value: str) -> None:
    """Write a value at a dotted key whose place exists."""
    *parents, last = (int(part) if part.isdecimal() else part for part in key.split("."))
    for part in parents:
        data = data[part]
    data[last] = value
