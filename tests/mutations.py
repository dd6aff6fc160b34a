"""Damaged and hostile variants of a picture's bytes, by number: the same seed gives the same variants."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_HEADER_BYTES = 600

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
"""Of chance, a picture and all pictures of its format."""


def mutants(pictures: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` variants of the pictures of one format."""
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        picture = chance.choice(pictures)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            picture = chance.choice(_MUTATIONS)(chance, picture, pictures)
        if picture.startswith(PNG_SIGNATURE) and chance.random() < 0.7:
            picture = with_right_checksums(picture)
        yield picture


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of the chunks of a PNG file as far as they go."""
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def png(chunks: Iterator[tuple[bytes, bytes]] | Sequence[tuple[bytes, bytes]]) -> bytes:
    """A PNG file with these chunks and the checksums that belong to them."""
    body = (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return PNG_SIGNATURE + b"".join(body)


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose chunks are believed: damage that a checksum would tell of goes on to the decoder."""
    return png(png_chunks(data))


def _flips(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _number in range(chance.choice((1, 1, 3, 10, 40))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _truncation(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _insertion(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.choice((1, 4, 64, 3000))) + data[at:]


def _deletion(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at + chance.choice((1, 4, 64, 500)) :]


def _swap(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Two neighbouring parts change places."""
    a, b, c = sorted(chance.randrange(len(data) + 1) for _number in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _extreme(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A field of the header becomes an extreme number; TIFF keeps its header at the end as often."""
    width, order = chance.choice((1, 2, 4)), chance.choice("<>")
    field = struct.pack(f"{order}Q", chance.choice(_EXTREMES))
    field = field[:width] if order == "<" else field[-width:]
    first = chance.randrange(min(len(data), _HEADER_BYTES) + 1)
    at = first if chance.random() < 0.7 else max(0, len(data) - first)
    return data[:at] + field + data[at + width :]


def _splice(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The beginning of one picture and the end of another one."""
    other = chance.choice(others)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


_MUTATIONS: tuple[Mutation, ...] = (
    _flips,
    _flips,
    _truncation,
    _insertion,
    _deletion,
    _swap,
    _extreme,
    _extreme,
    _extreme,
    _splice,
)
