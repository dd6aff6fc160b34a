"""A run folder out of a store. What is restored is trusted as little as a folder on a disk.

Blocks whose checksums do not fit are left out; the journal, the slots and the canvases are then compared as
after any other damage when the run goes on, and what is not as on record is made again.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

from tilefarm.errors import ResourceError
from tilefarm.files import sync_file, sync_folder, telling_when_full
from tilefarm.rundir.ending import set_aside
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.place import telling_of_place
from tilefarm.store.capture import Stale, progress_of
from tilefarm.store.manifest import NOTHING, Kept, Manifest, Progress, read_newest
from tilefarm.store.objects import Store

_SPARE_DISK = 1 << 28
_GROWING = (".jsonl",)


def restore(store: Store, run: RunDir, say: Callable[[str], None]) -> bool:
    """Make the run folder what the store keeps, where that is further than the folder; whether it was.

    A folder that is behind is set aside. The caller holds the store's lease. Raises StoreError,
    ResourceError where the disk has no room, RunBusyError where a driver works in the folder.
    """
    newest = read_newest(store)
    if newest is None or newest.run != run.name or newest.progress <= _progress(run):
        return False
    part = run.root.with_name(f".{run.name}.restored")
    with telling_when_full(), telling_of_place(run.root):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _check_room(part, newest)
        damaged = sum(_restored(store, part / name, kept) for name, kept in sorted(newest.files.items()))
        sync_folder(part)
        aside = None
        if run.exists():
            aside = set_aside(run)
        else:
            _clear(run)
        part.rename(run.root)
        sync_folder(run.root.parent)
    say(
        f"{run.root} was restored from {store.address}"
        + (f"; damaged there: {damaged} blocks" * bool(damaged))
    )
    if aside is not None:
        say(f"the folder that was there, and was not as far, is now {aside.root}")
    return True


def _progress(run: RunDir) -> Progress:
    """How far the folder is; a damaged one counts as having nothing."""
    try:
        return progress_of(run) if run.exists() else (-1, 0, 0, 0)
    except (Stale, OSError):
        return NOTHING


def _clear(run: RunDir) -> None:
    """Remove a folder in which nothing was started. Raises OSError where something else is in it."""
    if run.root.exists():
        run.lock.unlink(missing_ok=True)
        run.root.rmdir()


def _check_room(folder: Path, manifest: Manifest) -> None:
    free = shutil.disk_usage(folder).free
    if manifest.size + _SPARE_DISK > free:
        shutil.rmtree(folder)
        raise ResourceError(
            f"restoring the run needs {manifest.size / 2**20:.0f} MiB in {folder.parent} and the disk has "
            f"{free / 2**20:.0f} MiB free; free some space, or choose another disk with --run-dir"
        )


def _restored(store: Store, path: Path, kept: Kept) -> int:
    """Write a file's blocks; how many are not as they were. A file that grows ends before such a one."""
    path.parent.mkdir(exist_ok=True)
    damaged = 0
    with path.open("wb") as file:
        for block in kept.blocks:
            data = store.read(block.key)
            if data is not None and len(data) == block.length and zlib.crc32(data) == block.crc:
                file.seek(block.offset)
                file.write(data)
                continue
            damaged += 1
            if path.name.endswith(_GROWING):
                break
        else:
            file.truncate(kept.size)
    sync_file(path)
    return damaged
