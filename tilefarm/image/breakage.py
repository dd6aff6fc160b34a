"""Where a damaged picture breaks: the byte, by the structure that its format has, and the row, by decoding.

Only asked for when a decoder has failed. Decoders tell what broke and rarely where; with the place a
person can tell a copy that was cut short from a bad sector. Every walk is over a mapped file, goes only
forward, and so ends.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyvips

from tilefarm.image.engine import open_picture
from tilefarm.image.tiff_directory import BYTES_OF_TYPES, byte_order, directory_place, directory_values

_ROWS = 16
_BLOCK = 1 << 22
_TIFF_NUMBERS = {3: "H", 4: "L", 16: "Q"}
"""SHORT, LONG and LONG8 with their letters in `struct`."""
_OFFSETS, _LENGTHS = (273, 324), (279, 325)
"""Tags of strips and tiles."""
_COMPRESSION = 259


def broken_byte(path: Path) -> str:
    """Where the file's structure breaks, as the end of a sentence, such as "the file ends at byte 4096 ...".

    Empty where the structure is whole, or the format is none that is known here.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            walk = _walk_of(data[:16])
            return next(walk(data), "") if walk is not None else ""
    except (OSError, ValueError):  # gone, or empty, which cannot be mapped
        return ""
    except (struct.error, IndexError):  # the walk read beyond the end
        return f"the file ends at byte {path.stat().st_size}, within its structure"


def broken_row(path: Path, height: int, fail_on: str) -> str:
    """After which row decoding stops, as the end of a sentence; empty where that is not within the picture.

    Rows are counted from 1 in the order in which they are stored. Formats that store a picture in several
    passes break in all rows at once.
    """
    done = 0
    try:
        image = open_picture(path, access="sequential", fail_on=fail_on)  # keeps alive what it reads from
        region = pyvips.Region.new(image)
        for top in range(0, height, _ROWS):
            region.fetch(0, top, 1, min(_ROWS, height - top))
            done = min(top + _ROWS, height)
    except (pyvips.Error, OSError):
        return f"it breaks off after row {done} of {height}" if done else ""
    return ""


def wrong_checksum(path: Path) -> str:
    """Which part of a deflated TIFF file does not have its checksum, as a clause; empty where none is wrong.

    libtiff has all pixels of a part before it comes to the checksum, and stops there. Memory is bounded.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if _walk_of(data[:16]) is not _tiff:
                return ""
            values = _tiff_numbers(data)
            if values.get(_COMPRESSION, ())[:1] not in ((8,), (32946,)):
                return ""
            parts = _tiff_parts(values)
            for number, (offset, length) in enumerate(parts, start=1):
                if not _has_checksum(data[offset : offset + length]):
                    where = f"bytes {offset} to {offset + length}"
                    return f"the checksum of part {number} of {len(parts)} of its pixels, {where}, is wrong"
    except (OSError, ValueError, struct.error, IndexError):  # told elsewhere
        pass
    return ""


def _has_checksum(part: bytes) -> bool:
    unpacker = zlib.decompressobj()
    try:
        while part:
            unpacker.decompress(part, _BLOCK)
            part = unpacker.unconsumed_tail
    except zlib.error as error:
        return "incorrect data check" not in str(error)
    return True


def _walk_of(start: bytes) -> Callable[[mmap.mmap], Iterator[str]] | None:
    """The walk through a format, by a file's first bytes."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _webp
    if start[4:8] == b"ftyp":
        return _boxes
    signatures = {
        b"\xff\xd8": _jpeg,
        b"\x89PNG": _png,
        b"GIF8": _gif,
        b"II*\0": _tiff,
        b"MM\0*": _tiff,
        b"II+\0": _tiff,
        b"MM\0+": _tiff,
    }
    return next((walk for signature, walk in signatures.items() if start.startswith(signature)), None)


def _ends(data: mmap.mmap, where: str) -> str:
    return f"the file ends at byte {len(data)}, {where}"


def _jpeg(data: mmap.mmap) -> Iterator[str]:
    """ISO/IEC 10918-1, annex B: segments with a length, and coded data in which 0xFF is followed by 0."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            yield f"byte {at} should begin a segment and does not"
            return
        marker = data[at + 1]
        if marker == 0xD9:
            return
        if marker == 0xFF:  # padding
            at += 1
            continue
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
        if marker == 0xDA:
            at = _after_scan(data, at)
    if data[at : at + 2] != b"\xff\xd9":
        yield _ends(data, "before the end of its picture")


def _after_scan(data: mmap.mmap, at: int) -> int:
    """The next marker that is no restart marker, or the end of the file."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if data[at + 1] not in (0, 0xFF, *range(0xD0, 0xD8)):
            return at
        at += 1 if data[at + 1] == 0xFF else 2
    return len(data)


def _png(data: mmap.mmap) -> Iterator[str]:
    """PNG (third edition), section 5: chunks with length, kind, content and CRC-32."""
    at = 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        name = kind.decode("ascii", "replace")
        end = at + 12 + length
        if not kind.isalpha():
            yield f"byte {at} should begin a chunk and does not"
        if end > len(data):
            yield _ends(data, f"within the chunk {name} from byte {at} to {end}")
            return
        crc = zlib.crc32(kind)
        for start in range(at + 8, end - 4, _BLOCK):
            crc = zlib.crc32(data[start : min(start + _BLOCK, end - 4)], crc)
        if crc != struct.unpack_from(">I", data, end - 4)[0]:
            yield f"the checksum of the chunk {name} from byte {at} to {end} is wrong"
        if kind == b"IEND":
            return
        at = end
    yield _ends(data, "before its last chunk")


def _webp(data: mmap.mmap) -> Iterator[str]:
    """RFC 9649, section 2.4: the length of everything after the first 8 bytes."""
    stated = 8 + struct.unpack_from("<I", data, 4)[0]
    if stated > len(data):
        yield _ends(data, f"and its header states {stated} bytes")


def _boxes(data: mmap.mmap) -> Iterator[str]:
    """AVIF and HEIC, ISO/IEC 14496-12, section 4.2: boxes with length and kind; a length of 0 is the rest."""
    at = 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length == 1:
            length = struct.unpack_from(">Q", data, at + 8)[0]
        if length == 0:
            return
        name = kind.decode("ascii", "replace")
        if length < 8 or not name.isprintable():
            yield f"byte {at} should begin a box and does not"
            return
        if at + length > len(data):
            yield _ends(data, f"within the box {name} from byte {at} to {at + length}")
            return
        at += length


def _gif(data: mmap.mmap) -> Iterator[str]:
    """GIF89a, appendix A: colour tables, extensions and pictures made of blocks with a length."""
    at = 13 + _colour_table(data[10])
    while at < len(data):
        kind = data[at]
        if kind == 0x3B:
            return
        if kind == 0x2C:
            at += 11 + _colour_table(data[at + 9])  # and the byte with the first code's length
        elif kind == 0x21:
            at += 2
        else:
            yield f"byte {at} should begin a block and does not"
            return
        while (length := data[at]) != 0:
            at += 1 + length
        at += 1
    yield _ends(data, "before the end of its picture")


def _colour_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _tiff(data: mmap.mmap) -> Iterator[str]:
    """TIFF 6.0, section 2, and BigTIFF: a directory that says where strips or tiles lie."""
    directory = directory_place(data)
    if directory >= len(data):
        yield _ends(data, f"and its directory should be at byte {directory}")
        return
    for tag, kind, amount, at in directory_values(data):
        end = at + amount * BYTES_OF_TYPES.get(kind, 1)
        if end > len(data):
            yield _ends(data, f"and the value of its tag {tag} should be at bytes {at} to {end}")
            return
    parts = _tiff_parts(_tiff_numbers(data))
    for number, (offset, length) in enumerate(parts, start=1):
        if offset + length > len(data):
            part = f"part {number} of {len(parts)} of its pixels"
            yield _ends(data, f"and {part} should be at bytes {offset} to {offset + length}")
            return


def _tiff_numbers(data: mmap.mmap) -> dict[int, tuple[int, ...]]:
    """The whole numbers of the directory that say where pixels lie and how they are compressed."""
    order = byte_order(data)
    return {
        tag: struct.unpack_from(f"{order}{amount}{_TIFF_NUMBERS[kind]}", data, at)
        for tag, kind, amount, at in directory_values(data)
        if tag in (*_OFFSETS, *_LENGTHS, _COMPRESSION) and kind in _TIFF_NUMBERS
    }


def _tiff_parts(numbers: dict[int, tuple[int, ...]]) -> list[tuple[int, int]]:
    """Offset and length of every strip or tile."""
    offsets, lengths = (
        next((numbers[tag] for tag in tags if tag in numbers), ()) for tags in (_OFFSETS, _LENGTHS)
    )
    return list(zip(offsets, lengths, strict=False))
