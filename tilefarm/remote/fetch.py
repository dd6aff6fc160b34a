"""`tilefarm fetch`: results and records of a job, from the cluster's head to this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from tilefarm.errors import ClusterError, IncompleteError, JobError, TilefarmError
from tilefarm.files import sync_folder, telling_when_full
from tilefarm.remote.errand import errand
from tilefarm.remote.offer import Offer, Offered
from tilefarm.remote.server import JobServer
from tilefarm.remote.view import known
from tilefarm.spec.fingerprint import file_sha256
from tilefarm.spec.making import ANIMATION_FORMATS
from tilefarm.spec.paths import OUTPUT_FORMATS

PART_BYTES = 16 * 2**20
"""What is lost at most when a connection breaks; a part is held in memory."""
LONGEST_NAME = 200
"""Bytes; a file system's 255, less what a file is called until it is whole."""
LONGEST_PLACE = 1000
WINDOW = 16
"""Parts that lie ready on the head at a time."""

Tell = Callable[[str, int, int], object]
"""Is given a file's name, the bytes of it that are here, and how many it has."""


@dataclass(frozen=True)
class Fetched:
    """A file that is here now."""

    path: Path
    sha256: str
    size: int
    already: bool
    """Whether it was here before."""


def fetch(
    server: JobServer,
    name: str,
    into: Path,
    whole: bool = False,
    tell: Tell = lambda name, here, total: None,
) -> list[Fetched]:
    """Bring a job's picture and records into a folder, or with `whole` its run folder as well.

    Every part is checked by its SHA-256 and every file by its own before it takes its name; what was begun
    goes on. Raises IncompleteError where the job is not done, JobError where another file is in the way.
    """
    job = known(server, name)
    if not whole and job.status != "SUCCEEDED":
        state = "ended before its end" if job.ended else "is not done"
        raise IncompleteError(f"{name} {state}; see how it stands: tilefarm status --cluster ...")
    token = str(errand(server, "offer", name, str(PART_BYTES), *(["--run"] if whole else [])).get("token"))
    try:
        offered = _read(server, token, name)
        _refuse_others(offered, name, into)
        return _Fetching(server, token, offered, into, tell).all()
    finally:
        with suppress(TilefarmError):  # the head sweeps up; what went wrong before is what counts
            errand(server, "drop", token)


def _read(server: JobServer, token: str, name: str) -> Offer:
    content = server.read(f"offers/{token}/files.json")
    try:
        offered = Offer.model_validate_json(content or b"")
    except ValidationError:
        offered = None
    if offered is None or not is_sound(offered, name):
        raise ClusterError(
            f"the list of files that came from {server.address} cannot be read, or names files that are none "
            "of this job's; nothing was fetched"
        )
    return offered


def is_sound(offered: Offer, name: str) -> bool:
    """Whether a list is one of a job: pictures and films, and below runs/NAME what runs have; no file twice.

    What is written to this machine is decided here, and not on the head.
    """
    places = [file.place for file in offered.files]
    return (
        offered.part_bytes == PART_BYTES
        and len(set(places)) == len(places)
        and not set(places).intersection(_folders(places))
        and all(_is_ours(place, name) for place in places)
        and all(len(file.parts) == max(1, -(-file.size // PART_BYTES)) for file in offered.files)
    )


def _is_ours(place: str, name: str) -> bool:
    path = PurePosixPath(place)
    if not place.isprintable() or str(path) != place or any(part.startswith(".") for part in path.parts):
        return False
    if len(place.encode()) > LONGEST_PLACE or any(len(part.encode()) > LONGEST_NAME for part in path.parts):
        return False
    if path.parts[:2] == ("runs", name):
        return len(path.parts) > 2
    return len(path.parts) == 1 and path.suffix.lower() in (OUTPUT_FORMATS | ANIMATION_FORMATS)


def _folders(places: Iterable[str]) -> set[str]:
    return {str(folder) for place in places for folder in PurePosixPath(place).parents}


def _refuse_others(offered: Offer, name: str, into: Path) -> None:
    """Results never take the place of a file that is not the same; records of the same run do."""
    results = [file for file in offered.files if not file.place.startswith(f"runs/{name}/")]
    problems = [
        f"{into / file.place} is there already and is another file; move it away, or name another folder "
        "with --into"
        for file in results
        if (into / file.place).exists() and not _is_here(into / file.place, file)
    ]
    if problems:
        raise JobError(problems)


def _is_here(path: Path, file: Offered) -> bool:
    return path.is_file() and path.stat().st_size == file.size and file_sha256(path) == file.sha256


class _Fetching:
    def __init__(self, server: JobServer, token: str, offered: Offer, into: Path, tell: Tell) -> None:
        self._server = server
        self._token = token
        self._offered = offered
        self._into = into
        self._tell = tell
        self._ready = range(0)
        """Numbers of the parts that lie ready on the head."""

    def all(self) -> list[Fetched]:
        """Every file, in order."""
        fetched = []
        first = 0
        for file in self._offered.files:
            fetched.append(self._one(file, first))
            first += len(file.parts)
        return fetched

    def _one(self, file: Offered, first: int) -> Fetched:
        target = self._into / file.place
        if _is_here(target, file):
            return Fetched(target, file.sha256, file.size, already=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        begun = target.with_name(f".{target.name}.{file.sha256[:16]}.part")
        with telling_when_full(target), begun.open("a+b") as out:
            self._fill(out.fileno(), begun, file, first)
            os.fsync(out.fileno())
        if file_sha256(begun) != file.sha256:
            begun.unlink()
            raise ClusterError(f"{file.place} has changed on the head while it was fetched; fetch it again")
        begun.replace(target)
        sync_folder(target.parent)
        return Fetched(target, file.sha256, file.size, already=False)

    def _fill(self, out: int, begun: Path, file: Offered, first: int) -> None:
        """Append the parts that are missing, each when it is whole and right."""
        size = self._offered.part_bytes
        have = good_parts(begun, file.parts, size)
        os.ftruncate(out, have * size)
        for index in range(have, len(file.parts)):
            part = self._part(file, first + index)
            if hashlib.sha256(part).hexdigest() != file.parts[index]:
                raise ClusterError(
                    f"{file.place} was damaged on its way, or has changed on the head; fetch it again, and "
                    "it goes on with the part that it had come to"
                )
            while part:
                part = part[os.write(out, part) :]
            self._tell(file.place, min(file.size, (index + 1) * size), file.size)

    def _part(self, file: Offered, number: int) -> bytes:
        if len(file.parts) == 1:
            return self._short(file.source)
        if number not in self._ready:
            self._ready = range(number, number + WINDOW)
            errand(self._server, "cut", self._token, str(number), str(self._ready[-1]))
        return self._short(f"offers/{self._token}/{number}.part")

    def _short(self, path: str) -> bytes:
        """A file there; what is beyond the size of a part is left there, and the sum then does not fit."""
        content = bytearray()
        for block in self._server.stream(path):
            content += block
            if len(content) > PART_BYTES:
                break
        return bytes(content)


def good_parts(begun: Path, parts: Sequence[str], part_bytes: int) -> int:
    """How many whole parts of a file are here, and right; a last part that is shorter does not count."""
    good = 0
    with begun.open("rb") as file:
        for sha256 in parts:
            part = file.read(part_bytes)
            if len(part) < part_bytes or hashlib.sha256(part).hexdigest() != sha256:
                break
            good += 1
    return good
