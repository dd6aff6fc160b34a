"""The first directory of a TIFF file: which values it has and where they lie.

Sources: TIFF 6.0, section 2; for BigTIFF libtiff's description of it. All functions raise struct.error where
the file ends too early.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap

BYTES_OF_TYPES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each type that has more than one."""


def byte_order(data: mmap) -> str:
    """`<` or `>`, as `struct` writes it."""
    return "<" if data[0] == ord("I") else ">"


def is_big(data: mmap) -> bool:
    """Whether it is a BigTIFF, whose offsets have 64 bits."""
    return bool(struct.unpack_from(byte_order(data) + "H", data, 2)[0] == 43)


def directory_place(data: mmap) -> int:
    """The byte at which the first directory begins."""
    form, at = ("Q", 8) if is_big(data) else ("L", 4)
    place: int = struct.unpack_from(byte_order(data) + form, data, at)[0]
    return place


def directory_values(data: mmap) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count and place, in bytes of the file, of every value of the first directory."""
    order, big, at = byte_order(data), is_big(data), directory_place(data)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    start, step, word = (at + 8, 20, "Q") if big else (at + 2, 12, "L")
    for entry in range(start, start + count * step, step):
        tag, kind, amount = struct.unpack_from(f"{order}HH{word}", data, entry)
        place = entry + (12 if big else 8)
        inside = amount * BYTES_OF_TYPES.get(kind, 1) <= (8 if big else 4)
        yield tag, kind, amount, place if inside else struct.unpack_from(order + word, data, place)[0]
