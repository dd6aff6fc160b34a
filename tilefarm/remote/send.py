"""Bringing files to the head: in parcels, each the package of an errand that puts it where it belongs.

Ray's own way for a job's files (`working_dir`) unpacks them on every node that works for the job, and holds
them in the head's memory for as long as it runs. An errand works on the head alone and ends at once.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tilefarm.errors import JobError
from tilefarm.remote.bundle import Bundle
from tilefarm.remote.errand import errand
from tilefarm.remote.server import JobServer

PARCEL_BYTES = 64 * 2**20
"""Ray's job server takes packages of up to 100 MiB."""
_BLOCK = 1 << 20

Source = Path | bytes
Tell = Callable[[int, int], object]
"""Is given the bytes that were sent so far, and how many there are."""


@dataclass(frozen=True)
class Slice:
    """Some bytes of a file."""

    sha256: str
    """Of the whole file."""
    offset: int
    length: int
    total: int

    @property
    def name(self) -> str:
        """In a parcel."""
        return f"{self.sha256}.{self.offset}.{self.total}"


def send(server: JobServer, bundle: Bundle, tell: Tell = lambda sent, total: None) -> int:
    """Send what the head does not have yet of a job; the number of bytes that were sent.

    What was begun before goes on where it ended. Raises RemoteError and ClusterError.
    """
    sources: dict[str, Source] = {**bundle.sources, bundle.sha256: bundle.text}
    sizes = {sha256: len(s) if isinstance(s, bytes) else s.stat().st_size for sha256, s in sources.items()}
    if not server.names("files/"):  # nothing of ours is to be seen there: a new session, or a new head
        errand(server, "hello")
    there = [name.removeprefix("files/") for name in server.names("files/*")]
    slices = [slice for sha256, size in sizes.items() for slice in missing(sha256, size, there)]
    sent, total = 0, sum(slice.length for slice in slices)
    for parcel in parcels(slices):
        _send_one(server, parcel, sources)
        sent += sum(slice.length for slice in parcel)
        tell(sent, total)
    return sent


def missing(sha256: str, size: int, there: Sequence[str]) -> Iterator[Slice]:
    """The slices to send of a file, where the head has files of these names."""
    if sha256 in there:
        return
    begun = [name.split(".")[1] for name in there if name.startswith(f"{sha256}.") and name.endswith(".part")]
    offset = max((int(number) for number in begun if number.isdecimal()), default=0)
    if offset >= size:  # the same name, and not the file: from the beginning
        offset = 0
    while True:
        length = min(PARCEL_BYTES, size - offset)
        yield Slice(sha256, offset, length, size)
        offset += length
        if offset >= size:
            return


def parcels(slices: Sequence[Slice]) -> Iterator[list[Slice]]:
    """All of them in their order, together where they fit."""
    parcel: list[Slice] = []
    for slice in slices:
        if parcel and sum(each.length for each in parcel) + slice.length > PARCEL_BYTES:
            yield parcel
            parcel = []
        parcel.append(slice)
    if parcel:
        yield parcel


def _send_one(server: JobServer, parcel: Sequence[Slice], sources: Mapping[str, Source]) -> None:
    with tempfile.TemporaryDirectory(prefix="tilefarm-") as folder:
        package = Path(folder) / "parcel.zip"
        with zipfile.ZipFile(package, "w") as archive:
            for slice in parcel:
                with archive.open(zipfile.ZipInfo(slice.name), "w", force_zip64=True) as entry:
                    for block in _blocks(sources[slice.sha256], slice):
                        entry.write(block)
        address = server.upload(package)
    errand(server, "take", environment={"working_dir": address})


def _blocks(source: Source, slice: Slice) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source[slice.offset : slice.offset + slice.length]
        return
    left = slice.length
    with source.open("rb") as file:
        file.seek(slice.offset)
        while left:
            block = file.read(min(_BLOCK, left))
            if not block:
                raise JobError(f"{source} became shorter while it was sent; submit the job again")
            left -= len(block)
            yield block
