"""On the head: putting parcels where they belong, and a job together out of them."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from tilefarm.errors import ClusterError, JobError
from tilefarm.files import sync_folder, telling_when_full, write_text
from tilefarm.remote.bundle import FORMAT, Manifest
from tilefarm.remote.home import Home
from tilefarm.spec.fingerprint import file_sha256

_BLOCK = 1 << 20


def take(home: Home, parcel: Path) -> int:
    """Add the slices in a folder to the files that they are of; how many files are whole now.

    Slices are emptied: Ray keeps unpacked packages. Raises JobError where one does not fit, or a file is
    not what its name says.
    """
    slices = [path for path in parcel.iterdir() if path.name.count(".") == 2]
    whole = 0
    with alone(home.files / ".lock"), telling_when_full():
        for path in sorted(slices, key=lambda path: int(path.name.split(".")[1])):
            whole += _take_slice(home, path)
            os.truncate(path, 0)
    return whole


def _take_slice(home: Home, path: Path) -> bool:
    sha256, offset, total = path.name.split(".")[0], *map(int, path.name.split(".")[1:])
    length = path.stat().st_size
    if home.file(sha256).exists():
        return True
    begun = home.begun(sha256, offset)
    if offset == 0:
        for old in home.files.glob(f"{sha256}.*.part"):
            old.unlink()
        begun.touch()
    if not begun.exists():
        raise JobError("the head has lost the beginning of a file that was sent; submit the job again")
    with begun.open("r+b") as target, path.open("rb") as source:
        target.truncate(offset)
        target.seek(offset)
        shutil.copyfileobj(source, target, _BLOCK)
        target.flush()
        os.fsync(target.fileno())
    if offset + length < total:
        begun.rename(home.begun(sha256, offset + length))
        return False
    if file_sha256(begun) != sha256:
        begun.unlink()
        raise JobError("a file was damaged on its way, or has changed meanwhile; submit the job again")
    begun.rename(home.file(sha256))
    sync_folder(home.files)
    return True


def read_manifest(home: Home, sha256: str) -> Manifest:
    """Raises ClusterError where it is not there, or is none that this version understands."""
    try:
        manifest = Manifest.model_validate_json(home.file(sha256).read_bytes())
    except (OSError, ValidationError):
        manifest = None
    if manifest is None or manifest.format != FORMAT:
        raise ClusterError("what was sent is no job, or it is gone from the head's disk; submit it again")
    return manifest


def assemble(home: Home, manifest: Manifest) -> Path:
    """The job's folder with all that it reads; its job file. Raises ClusterError where a file is gone."""
    folder = home.job(manifest.name)
    for place, sent in manifest.files.items():
        source, target = home.file(sent.sha256), folder / place
        if not source.exists():
            raise ClusterError(f"{target.name} is gone from the head's disk; submit the job again")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and target.samefile(source):
            continue
        temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}")
        os.link(source, temporary)
        temporary.replace(target)
    for place in manifest.results:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
    write_text(folder / "manifest.json", manifest.model_dump_json())
    write_text(folder / "job.yaml", manifest.job)
    return folder / "job.yaml"


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for whoever holds the lock file, and hold it; the kernel frees it when the process ends."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
