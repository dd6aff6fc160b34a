"""Files that survive a crash: space reserved beforehand, atomic replacement, checksums."""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from tilefarm import faults
from tilefarm.errors import JobError, ResourceError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of the system for a disk, a quota or a file that has no more room."""
_BLOCK = 1 << 22
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.\d+\.part(\.[^.]*)?")


def reserve(path: Path, size: int) -> None:
    """Make `path` a file of exactly `size` bytes whose blocks are really there.

    Writing a memory map on a full disk kills the process with SIGBUS; asking for the space first is
    an exception instead. Keeps what the file held. Raises ResourceError where the disk is too full.
    """
    try:
        with path.open("ab") as file:
            if file.tell() > size:
                file.truncate(size)
            if size > 0:
                _allocate(file.fileno(), size)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise ResourceError(
                f"{as_named(path)} needs {size / 2**20:.0f} MiB and the disk has not that much left; "
                "free some space and start it again"
            ) from error
        raise


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    missing = size - os.fstat(descriptor).st_size  # macOS has no posix_fallocate: write zeros
    while missing > 0:
        missing -= os.write(descriptor, bytes(min(missing, _BLOCK)))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that takes its place, durably, when the block ends well.

    The temporary file is removed when the block raises; `target` is then as it was.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part{target.suffix}")
    try:
        yield temporary
        sync_file(temporary)
        faults.reached("file: synced")
        temporary.replace(target)
        sync_folder(target.parent)
        faults.reached("file: renamed")
    finally:
        temporary.unlink(missing_ok=True)


def new_name(path: Path, what: str) -> Path:
    """A name beside a file that does not exist yet: picture-again.tif, picture-again-2.tif ..."""
    number = 1
    while True:
        ending = f"-{what}" if number == 1 else f"-{what}-{number}"
        found = path.with_name(f"{path.stem}{ending}{path.suffix}")
        if not found.exists() and not found.is_symlink():
            return found
        number += 1


def remove_leftovers(target: Path) -> None:
    """Remove what processes that were killed while they wrote `target` have left beside it.

    A file with the id of this process is one of theirs too: ids come again, and this one has not begun yet.
    """
    for path in target.parent.glob(f".{escape(target.name)}.*.part{escape(target.suffix)}"):
        process = path.name.removeprefix(f".{target.name}.").partition(".")[0]
        if process.isdecimal() and not is_alive(int(process)):
            path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether another process of this id is at work."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's; or no id at all
        return True
    return process != os.getpid()


@contextmanager
def telling_when_full(path: Path | None = None) -> Iterator[None]:
    """Within the block a full disk is a ResourceError about `path`, or the file that the system names."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full(path or error.filename) from error
        raise


@contextmanager
def telling_when_forbidden() -> Iterator[None]:
    """Within the block a file that this user may not touch is a JobError."""
    try:
        yield
    except PermissionError as error:
        raise JobError(
            f"{error.filename or 'a file'} is not open to you ({error.strerror}); ask its owner, or change "
            "its permissions"
        ) from error


def disk_full(path: Path | str | bytes | int | None) -> ResourceError:
    """The sentence about a disk that became full while a file was written; None for an unknown one."""
    what = as_named(Path(path)) if isinstance(path, Path | str) else "a file"
    return ResourceError(f"the disk became full while {what} was written; free some space and start it again")


def as_named(path: Path) -> Path:
    """The name that people know: of a temporary file of `replacing`, the one that it is about to take."""
    temporary = _TEMPORARY.fullmatch(path.name)
    return path.with_name(temporary["name"]) if temporary else path


def write_text(target: Path, text: str) -> None:
    """Replace a small text file atomically. Raises ResourceError where the disk is full."""
    with telling_when_full(target), replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def checksum(path: Path) -> int:
    """CRC-32 of a file's bytes, read in blocks."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value


def zero(path: Path) -> None:
    """Fill a file with zero bytes, keeping its length."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for start in range(0, size, _BLOCK):
            file.write(bytes(min(_BLOCK, size - start)))
