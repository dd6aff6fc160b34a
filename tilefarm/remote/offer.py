"""On the head: what a fetch has asked for, listed with checksums and cut into parts.

The job server hands out whole files only. What is larger than a part is copied out part by part, so that a
fetch that was broken off goes on with the part that it had come to, and a few of them at a time, so that the
head's disk need not hold everything twice.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

from pydantic import BaseModel, ConfigDict, Field

from tilefarm.errors import ClusterError, IncompleteError
from tilefarm.files import write_text
from tilefarm.remote.bundle import Manifest, Place, Sha256
from tilefarm.remote.home import Home, is_inside
from tilefarm.rundir.layout import RunDir, is_locked

RECORDS = ("run.json", "job.yaml", "inputs.json", "plan.json", "journal.jsonl", "events.jsonl", "losses.*")
"""Small files of a run folder, which come with the picture; `levels` does too."""
_STALE_SECONDS = 24 * 3600.0
_BLOCK = 1 << 20


class Offered(BaseModel):
    """A file to fetch."""

    model_config = ConfigDict(frozen=True, strict=True)

    place: Place
    """Where it belongs: beside the others for a result, in runs/NAME for the rest."""
    source: Place
    """In the head's folder."""
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256
    parts: list[Sha256]
    """Of each `part_bytes` of it; one of nothing for an empty file."""


class Offer(BaseModel):
    """All files of a fetch, in their order."""

    model_config = ConfigDict(frozen=True, strict=True)

    part_bytes: Annotated[int, Field(ge=1)]
    files: list[Offered]

    def numbered(self) -> Iterator[tuple[int, Offered, int]]:
        """(number, file, index in the file) of all parts."""
        number = 0
        for file in self.files:
            for index in range(len(file.parts)):
                yield number, file, index
                number += 1


def offer(home: Home, name: str, part_bytes: int, whole: bool) -> str:
    """List a job's results with its records, or with `whole` its run folder; the token of the list.

    Raises IncompleteError where there are no results yet, ClusterError where there is no such job.
    """
    _sweep(home)
    job, run = home.job(name), home.run(name)
    if not is_inside(name) or not (job / "manifest.json").exists() or not run.root.is_dir():
        raise ClusterError(f"the cluster's head has no files of {name}; submit the job again")
    results = Manifest.model_validate_json((job / "manifest.json").read_bytes()).results
    missing = [place for place in results if not (job / place).exists()]
    if whole and is_locked(run):
        raise IncompleteError(f"{name} is being worked on, and its run folder changes; cancel it, or wait")
    if missing and not whole:
        raise IncompleteError(f"{name} has no {Path(missing[0]).name} yet; wait until it is done")
    files = [(Path(place).name, job / place) for place in results if place not in missing]
    files += [(f"runs/{name}/{path.relative_to(run.root)}", path) for path in _of_run(run, whole)]
    listed = [_listed(home, place, path, part_bytes) for place, path in files]
    token = uuid.uuid4().hex
    home.offer(token).parent.mkdir()
    write_text(home.offer(token), Offer(part_bytes=part_bytes, files=listed).model_dump_json())
    return token


def cut(home: Home, token: str, first: int, last: int) -> int:
    """Make files of the parts first..last, and remove those before; how many there are now.

    Files of a single part are handed out as they are.
    """
    for old in home.offer(token).parent.glob("*.part"):
        old.unlink()
    offered, made = Offer.model_validate_json(home.offer(token).read_bytes()), 0
    for number, file, index in offered.numbered():
        if first <= number <= last and len(file.parts) > 1:
            with (home.root / file.source).open("rb") as source, home.part(token, number).open("wb") as part:
                source.seek(index * offered.part_bytes)
                for block in _blocks(source, offered.part_bytes):
                    part.write(block)
            made += 1
    return made


def drop(home: Home, token: str) -> bool:
    """Remove an offer; whether it was there."""
    there = home.offer(token).exists()
    shutil.rmtree(home.offer(token).parent, ignore_errors=True)
    return there


def _of_run(run: RunDir, whole: bool) -> list[Path]:
    if whole:
        found = [path for path in run.root.rglob("*") if path != run.lock and not _is_hidden(path, run)]
    else:
        found = [path for pattern in RECORDS for path in run.root.glob(pattern)]
        found += list(run.previews.glob("*"))
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _is_hidden(path: Path, run: RunDir) -> bool:
    """Whether it is what a killed driver has left of its temporary files."""
    return any(part.startswith(".") for part in path.relative_to(run.root).parts)


def _listed(home: Home, place: str, path: Path, part_bytes: int) -> Offered:
    digest, parts, size = hashlib.sha256(), [], 0
    with path.open("rb") as file:
        while True:
            part = hashlib.sha256()
            for block in _blocks(file, part_bytes):
                part.update(block)
                digest.update(block)
                size += len(block)
            parts.append(part.hexdigest())
            if size < part_bytes * len(parts):
                break
    if size and size % part_bytes == 0:
        parts.pop()  # of nothing
    source = path.relative_to(home.root).as_posix()
    return Offered(place=place, source=source, size=size, sha256=digest.hexdigest(), parts=parts)


def _blocks(file: IO[bytes], size: int) -> Iterator[bytes]:
    left = size
    while left and (block := file.read(min(_BLOCK, left))):
        left -= len(block)
        yield block


def _sweep(home: Home) -> None:
    """Remove what fetches have left that were broken off."""
    for folder in home.offers.iterdir():
        if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
