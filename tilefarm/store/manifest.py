"""What a store keeps of a run: which bytes of which file are in which object.

Objects are never changed once they are written; a manifest names those that belong together. Two manifests
take turns, so that one is whole at any moment, also where a store replaces an object in parts. So a kept run
is always of one moment: the journal is in the same manifest as the pixels that it speaks of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tilefarm.sealed import DamagedError, opened_json, sealed_json
from tilefarm.store.objects import Store

FORMAT = 1
NAMES = ("manifest-0.json", "manifest-1.json")
OBJECTS = "objects"
_KEPT_NAME = re.compile(
    r"(job\.yaml|(inputs|plan|run|animation|deliveries)\.json|(journal|events)\.jsonl|losses\.(png|csv)"
    r"|(canvas|gradient|square)-\d{1,3}\.f32|tiles\.f32|targets-\d{1,3}\.npz"
    r"|optimizer-\d{1,3}/([a-z]{1,2}\d{1,5}\.f32|state\.json)"
    r"|levels/level-\d{1,3}\.png|snapshots/level-\d{2,3}-step-\d{7,9}\.jpg)"
)
_KEY = re.compile(rf"{OBJECTS}/[0-9a-f]{{1,16}}-\d{{1,12}}")
_ASIDE = re.compile(r"manifest\.old-\d+\.json")

Progress = tuple[int, int, int, int]
"""How far a run is, for comparing: whether it was exported (0, 1), levels begun, rounds done of the last one,
and of its next round the tiles, or the optimizer's steps."""
NOTHING: Progress = (0, 0, 0, 0)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Block(_Record):
    """A stretch of a file, in an object of its own."""

    offset: int = Field(ge=0)
    length: int = Field(ge=1)
    crc: int
    """CRC-32 of its bytes."""
    key: str


class Kept(_Record):
    """A file of a run folder. What no block covers is not known, and is made again."""

    size: int = Field(ge=0)
    crc: int | None = None
    """CRC-32 of the whole file, where it is covered whole and has one on record."""
    blocks: tuple[Block, ...] = ()


class Manifest(_Record):
    """A run at one moment."""

    format: int = FORMAT
    run: str
    generation: int
    """Counts the manifests of a run; the highest counts."""
    progress: Progress
    files: dict[str, Kept]
    """By name, relative to the run folder."""

    @property
    def keys(self) -> set[str]:
        """Of all objects that it names."""
        return {block.key for kept in self.files.values() for block in kept.blocks}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(kept.size for kept in self.files.values())


def is_kept_name(name: str) -> bool:
    """Whether a store keeps files of this name: nothing else is ever written into a run folder."""
    return _KEPT_NAME.fullmatch(name) is not None


def read_manifests(store: Store) -> list[Manifest]:
    """The manifests that are whole, the newest first. Raises StoreError."""
    found = [manifest for name in NAMES if (manifest := _read(store, name)) is not None]
    return sorted(found, key=lambda manifest: -manifest.generation)


def read_newest(store: Store) -> Manifest | None:
    """The last manifest that is whole; None where there is none. Raises StoreError."""
    return next(iter(read_manifests(store)), None)


def write_manifest(store: Store, manifest: Manifest) -> None:
    """Write it in the place of the one before the last. Raises StoreError."""
    text = sealed_json(manifest.model_dump_json(exclude_none=True))
    store.write(NAMES[manifest.generation % len(NAMES)], text.encode())


def set_store_aside(store: Store) -> str | None:
    """Keep the newest manifest under another name, as the run begins anew; that name. Raises StoreError."""
    newest = read_newest(store)
    if newest is None:
        return None
    taken, number = set(store.keys("")), 1
    while (name := f"manifest.old-{number}.json") in taken:
        number += 1
    store.write(name, sealed_json(newest.model_dump_json(exclude_none=True)).encode())
    store.remove(NAMES)
    return name


def named_keys(store: Store) -> set[str]:
    """The keys of all objects that any manifest names, those that were set aside included."""
    names = (name for name in store.keys("") if name in NAMES or _ASIDE.fullmatch(name))
    return {key for name in names if (manifest := _read(store, name)) is not None for key in manifest.keys}


def _read(store: Store, name: str) -> Manifest | None:
    data = store.read(name)
    if data is None:
        return None
    try:
        text, sealed = opened_json(data)
        manifest = Manifest.model_validate_json(text)
    except (DamagedError, ValidationError):
        return None
    return manifest if sealed and manifest.format == FORMAT and _is_sound(manifest.files.items()) else None


def _is_sound(files: Iterable[tuple[str, Kept]]) -> bool:
    """Whether all names are ours and all blocks lie in their files, one after the other."""
    return all(is_kept_name(name) and all(_in_order(kept)) for name, kept in files)


def _in_order(kept: Kept) -> Iterator[bool]:
    end = 0
    for block in kept.blocks:
        yield block.offset >= end and _KEY.fullmatch(block.key) is not None
        end = block.offset + block.length
    yield end <= kept.size
