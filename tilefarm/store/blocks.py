"""Files of a run folder into objects, block by block, at no more than a given rate.

A large file is first copied beside the run's own, and the copy compared with the checksum on record: the
driver writes over its vectors every few iterations, and sending them may take longer.
"""

from __future__ import annotations

import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tilefarm.rundir.layout import RunDir
from tilefarm.store.capture import Capture, Slot, Stale, Whole
from tilefarm.store.manifest import OBJECTS, Block, Kept, Manifest
from tilefarm.store.objects import Store

BLOCK = 1 << 23
"""Bytes of an object, at most: what is in memory, and what is sent again when sending it fails."""
_LINES_BLOCK = 1 << 20
"""Of files that only grow: all blocks but the last are sent once."""
_GROWING = (".jsonl",)
SPARE_DISK = 1 << 30
"""Bytes that copies leave free on the run folder's disk, beside what the run may yet need."""
_STAGED = ".store"


class NoRoomError(Exception):
    """The disk has no room for the copies."""


@dataclass
class Sender:
    """Sends what a store does not have yet. `between` is called after every object, to hold on or to stop."""

    store: Store
    run: RunDir
    token: str
    """Makes the keys of this session its own."""
    between: Callable[[int, float], None]
    """(bytes that were sent, seconds that it took); also called, without bytes, after copies on the disk."""
    _known: dict[tuple[str, int, int, int], str] = field(default_factory=dict)
    _wholes: dict[tuple[str, int], Kept] = field(default_factory=dict)
    _count: int = 0
    _sent: set[str] = field(default_factory=set)

    def learn(self, manifest: Manifest) -> None:
        """What is there already."""
        self._known.clear()
        self._wholes.clear()
        for name, kept in manifest.files.items():
            if kept.crc is not None:
                self._wholes[name, kept.crc] = kept
            for block in kept.blocks:
                self._known[name, block.offset, block.length, block.crc] = block.key

    def send(self, found: Capture) -> dict[str, Kept]:
        """Send what is new of a capture; its files. Raises Stale, NoRoomError, StoreError, OSError."""
        new = [whole for whole in found.wholes if (whole.name, whole.crc) not in self._wholes]
        files = {
            whole.name: self._wholes[whole.name, whole.crc] for whole in found.wholes if whole not in new
        }
        with self._staged(new, found.room) as copies:
            for whole, copy in copies:
                files[whole.name] = self._wholes[whole.name, whole.crc] = self._whole(whole, copy)
        for slot in found.slots:
            there = files.get(slot.name, Kept(size=0))
            end = max(there.size, slot.offset + slot.length)
            files[slot.name] = Kept(size=end, blocks=(*there.blocks, self._slot(slot)))
        for name, data in found.texts.items():
            files[name] = self._text(name, data)
        return files

    def forget(self, keep: set[str]) -> set[str]:
        """No longer count on other keys than these; those of the others that were sent in this session."""
        useless = self._sent - keep
        self._sent &= keep
        self._known = {place: key for place, key in self._known.items() if key in keep}
        self._wholes = {
            place: kept
            for place, kept in self._wholes.items()
            if all(block.key in keep for block in kept.blocks)
        }
        return useless

    @contextmanager
    def _staged(self, wholes: list[Whole], room: int) -> Iterator[list[tuple[Whole, Path]]]:
        """Copies of files, each as on record; those that a run can do without may be missing."""
        folder = self.run.root / _STAGED
        copies = []
        try:
            folder.mkdir(exist_ok=True)
            for number, whole in enumerate(wholes):
                copy = folder / f"{number}"
                if self._copied(whole, copy, room):
                    copies.append((whole, copy))
                self.between(0, 0.0)  # many large copies take longer than a lease lasts
            yield copies
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _copied(self, whole: Whole, copy: Path, room: int) -> bool:
        path = self.run.root / whole.name
        try:
            size = path.stat().st_size
            if shutil.disk_usage(self.run.root).free < size + room + SPARE_DISK:
                raise NoRoomError
            crc = _copy(path, copy)
        except FileNotFoundError:
            crc = None
        if crc == whole.crc:
            return True
        if whole.needed:
            raise Stale(f"{whole.name} is not as on record")
        copy.unlink(missing_ok=True)
        return False

    def _whole(self, whole: Whole, copy: Path) -> Kept:
        with copy.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            blocks = tuple(
                self._block(whole.name, offset, file.read(BLOCK)) for offset in range(0, size, BLOCK)
            )
        copy.unlink()
        return Kept(size=size, crc=whole.crc, blocks=blocks)

    def _slot(self, slot: Slot) -> Block:
        known = self._known.get((slot.name, slot.offset, slot.length, slot.crc))
        if known is not None:
            return Block(offset=slot.offset, length=slot.length, crc=slot.crc, key=known)
        with (self.run.root / slot.name).open("rb") as file:
            data = os.pread(file.fileno(), slot.length, slot.offset)
        if len(data) != slot.length or zlib.crc32(data) != slot.crc:
            raise Stale(f"a slot of {slot.name} is not as on record")
        return self._block(slot.name, slot.offset, data)

    def _text(self, name: str, data: bytes) -> Kept:
        step = _LINES_BLOCK if name.endswith(_GROWING) else BLOCK
        blocks = [self._block(name, start, data[start : start + step]) for start in range(0, len(data), step)]
        return Kept(size=len(data), blocks=tuple(blocks))

    def _block(self, name: str, offset: int, data: bytes) -> Block:
        crc = zlib.crc32(data)
        key = self._known.get((name, offset, len(data), crc))
        if key is None:
            self._count += 1
            key = f"{OBJECTS}/{self.token}-{self._count}"
            self._sent.add(key)
            begin = time.monotonic()
            self.store.write(key, data)
            self._known[name, offset, len(data), crc] = key
            self.between(len(data), time.monotonic() - begin)
        return Block(offset=offset, length=len(data), crc=crc, key=key)


def _copy(source: Path, target: Path) -> int:
    """Copy a file and return the CRC-32 of the copied bytes."""
    crc = 0
    with source.open("rb") as reader, target.open("wb") as writer:
        while data := reader.read(BLOCK):
            crc = zlib.crc32(data, crc)
            writer.write(data)
    return crc
