"""Text that carries its own CRC-32, so that a bit that has flipped in it is noticed.

A CRC-32 finds every single flipped bit and every burst of up to 32 bits (Peterson and Brown 1961, "Cyclic
codes for error detection"). What versions before wrote has none, and is taken as it is.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

_JSON_SEAL = b',"sum":"????????"}'
_MARKS = [place for place, mark in enumerate(_JSON_SEAL) if mark != ord("?")]
_FEWEST_MARKS = 6
"""Of the ten around the digits: what has so many is a seal, damaged or not. No record ends so without one."""
_LONGEST_TURNED_BACK = 4096
"""Bytes. Every bit is tried; a line of a journal has some hundred bytes."""
_SEAL_FORM = re.compile(rb',"sum":"([0-9a-f]{8})"}')
_OF_LAST_BYTE = [zlib.crc32(bytes([value])) ^ zlib.crc32(b"\0") for value in range(256)]
"""What a last byte does to the sum, compared with one that is zero."""
_TEXT_SEAL = re.compile(rb"# sum ([0-9a-f]{8})\n\Z")
_FILE_SEAL = len("sum 01234567")
_END_OF_JPEG = b"\xff\xd9"


class DamagedError(ValueError):
    """The text is not what its sum was made of."""


def sealed_json(text: str) -> str:
    """A JSON object with its sum as the last value."""
    return f'{text[:-1]},"sum":"{_sum(text[:-1].encode())}"}}'


def opened_json(data: bytes) -> tuple[bytes, bool]:
    """The JSON object without its sum, and whether it had one. Raises DamagedError."""
    body, seal = data[: -len(_JSON_SEAL)], data[-len(_JSON_SEAL) :]
    marks = sum(seal[place] == _JSON_SEAL[place] for place in _MARKS) if body else 0
    if marks < _FEWEST_MARKS:
        return data, False
    if seal != _JSON_SEAL.replace(b"????????", _sum(body).encode()):
        raise DamagedError("the sum does not fit")
    return body + b"}", True


def turned_back(lines: bytes) -> bytes | None:
    """Sealed JSON objects, one a line, of which a single bit has flipped, as they were.

    None where more is wrong, where a line has no sum, or where two ways of turning back would fit.
    """
    if len(lines) > _LONGEST_TURNED_BACK:
        return None
    found = []
    for place in range(len(lines)):
        for bit in range(8):
            candidate = bytearray(lines)
            candidate[place] ^= 1 << bit
            if all(_has_its_sum(line) for line in bytes(candidate).split(b"\n")):
                found.append(bytes(candidate))
    return found[0] if len(found) == 1 else None


def with_its_bit_back(data: bytes) -> bytes | None:
    """A long sealed JSON object of which a single bit has flipped, as it was; None where more is wrong.

    A CRC is linear: the flipped bit alone decides by what the sum is off, and no two bits of a text below
    512 MiB do so in the same way (Peterson and Brown 1961). So the bits are gone through from the end, with
    what each of them does to the sum, and no sum of the whole is made again.
    """
    body, seal = data[: -len(_JSON_SEAL)], data[-len(_JSON_SEAL) :]
    expected = _JSON_SEAL.replace(b"????????", _sum(body).encode())
    if len(seal) < len(expected):
        return None
    if sum((a ^ b).bit_count() for a, b in zip(seal, expected, strict=True)) == 1:
        return body + expected
    form = _SEAL_FORM.fullmatch(seal)
    if form is None:
        return None
    off = zlib.crc32(body) ^ int(form[1], 16)
    effects = [_shifted(1 << bit) for bit in range(8)]
    for place in range(len(body) - 1, -1, -1):
        if off in effects:
            bit = 1 << effects.index(off)
            return body[:place] + bytes([body[place] ^ bit]) + body[place + 1 :] + seal
        effects = [_shifted(effect) for effect in effects]
    return None


def _shifted(register: int) -> int:
    """The CRC's register after a byte of zeros."""
    return (register >> 8) ^ _OF_LAST_BYTE[register & 0xFF]


def _has_its_sum(data: bytes) -> bool:
    try:
        return opened_json(data)[1]
    except DamagedError:
        return False


def sealed_text(text: str) -> str:
    """Lines of YAML with their sum in a comment at the end."""
    return f"{text}# sum {_sum(text.encode())}\n"


def is_sealed_text(data: bytes) -> bool:
    """Whether lines end in the sum that is theirs; False where they have none. Raises DamagedError."""
    found = _TEXT_SEAL.search(data)
    if found is None:
        return False
    if _sum(data[: found.start()]).encode() != found[1]:
        raise DamagedError("the sum does not fit")
    return True


def seal_file(path: Path) -> None:
    """Add its sum to the end of a small file, where decoders of pictures do not look."""
    data = path.read_bytes()
    path.write_bytes(data + f"sum {_sum(data)}".encode())


def is_whole_picture(path: Path) -> bool:
    """Whether a JPEG file is as it was sealed; an older one has no sum, and ends in its end mark."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    seal = f"sum {_sum(data[:-_FILE_SEAL])}".encode()
    return data.endswith(seal) or data.endswith(_END_OF_JPEG)


def _sum(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"
