"""A finished file to an address: sent under another name, read back and compared, and only then renamed.

In object stores the new name is a copy that the store makes, and it appears at once and whole. A file that
was sent is on record in the run folder and is not sent again while it is there in the same size.
"""

from __future__ import annotations

import json
import posixpath
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tilefarm import faults
from tilefarm.errors import JobError
from tilefarm.files import checksum, write_text
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.address import Address, is_address, parse_address
from tilefarm.spec.destination import local_copy
from tilefarm.spec.model import Job
from tilefarm.store.objects import Store, StoreError

BLOCK = 1 << 24
"""Bytes in memory, and of a part of an upload: S3 takes 10,000 parts, so files of up to 156 GiB."""


def destinations(job: Job) -> Iterator[tuple[str, Path, Address]]:
    """(key, file, address) of every finished file that is to be sent."""
    if job.output.address is not None:
        yield "output.path", job.output.path, job.output.address
    if job.animation is not None and job.animation.address is not None:
        yield "animation.path", job.animation.path, job.animation.address


@cache
def check_destination(address: Address, key: str) -> None:
    """Try once in a process whether a file can be written there. Raises JobError, which begins with `key`."""
    _folder(address).check(key)


def typed_destination(text: str | None) -> tuple[Path | None, Address | None]:
    """The file to write for what was typed as --output, and where to send it, which is tried.

    Raises JobError for an address that is wrong or cannot be written.
    """
    if not is_address(text):
        return None if text is None else Path(text), None
    try:
        address = parse_address(str(text))
    except ValueError as error:
        raise JobError(f"--output {error}") from None
    check_destination(address, "--output")
    path = Path(local_copy(address))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path, address


def deliver_all(job: Job, run: RunDir, tell: Callable[[str], object]) -> bool:
    """Send what is not there yet; whether anything was sent. Raises StoreError."""
    sent = False
    for _, path, address in destinations(job):
        if path.exists():
            sent = _deliver_once(path, address, run, tell) or sent
    return sent


def _deliver_once(path: Path, address: Address, run: RunDir, tell: Callable[[str], object]) -> bool:
    """Send a file unless it is on record and there."""
    size, crc = path.stat().st_size, checksum(path)
    records = _records(run)
    done = {"crc": crc, "size": size}
    if records.get(str(address)) == done and _folder(address).size(address.name) == size:
        return False
    deliver(path, address)
    faults.reached("deliver: renamed")
    write_text(run.deliveries, json.dumps({**records, str(address): done}, indent=2) + "\n")
    faults.reached("deliver: recorded")
    tell(f"sent {path.name} to {address}: {size / 2**20:.1f} MiB, read back and compared")
    return True


def deliver(path: Path, address: Address) -> None:
    """Send a file and put it in the place of what is there. Needs `BLOCK` bytes of memory.

    What an earlier try has sent in full is not sent again. Raises StoreError; the file here stays.
    """
    store, size, crc = _folder(address), path.stat().st_size, checksum(path)
    part = f".{address.name}.{crc:08x}.part"
    try:
        if store.size(part) != size or _remote_checksum(store, part) != crc:
            _send(path, store, part)
            if store.size(part) != size or _remote_checksum(store, part) != crc:
                raise StoreError(f"what arrived at {address} is not what was sent")
        faults.reached("deliver: compared")
        with store.telling("renamed"):
            store.fs.mv(store.path(part), store.path(address.name))
        if store.size(address.name) != size:
            raise StoreError(f"{address} has another size than what was sent")
    except StoreError as error:
        raise StoreError(
            f"{path} is finished, and could not be sent: {error}; the same command, or resume, sends it"
        ) from error


def _folder(address: Address) -> Store:
    head = posixpath.dirname(address.place)
    return Store(Address(address.protocol, head))


def _send(path: Path, store: Store, key: str) -> None:
    with store.telling("written"), path.open("rb") as file:
        target: Any = store.fs.open(store.path(key), "wb", block_size=BLOCK)
        try:
            while data := file.read(BLOCK):
                target.write(data)
            target.close()
        except BaseException:  # else a part would become an object when the target is thrown away
            target.closed = True
            with suppress(Exception):
                target.discard()
            raise


def _remote_checksum(store: Store, key: str) -> int:
    """CRC-32 of an object, read in blocks."""
    value = 0
    with (
        store.telling("read"),
        store.fs.open(store.path(key), "rb", block_size=BLOCK, cache_type="none") as file,
    ):
        while data := file.read(BLOCK):
            value = zlib.crc32(data, value)
    return value


def _records(run: RunDir) -> dict[str, Any]:
    try:
        records = json.loads(run.deliveries.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}
