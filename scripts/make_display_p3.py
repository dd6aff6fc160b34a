"""Write tilefarm/image/icc/display-p3-compatible.icc, a version 4 profile of three curves and a matrix.

    python scripts/make_display_p3.py

Display P3 by SMPTE EG 432-1: the primaries of P3, white D65, and the curve of sRGB. The profile that libvips
brings has the same, but for one number that is negative and was set to 0, which moves colours by 0.0012 of
linear light. The same bytes come out every time.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TARGET = Path(__file__).parent.parent / "tilefarm" / "image" / "icc" / "display-p3-compatible.icc"
PRIMARIES = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
D65 = (0.3127, 0.3290)
D50 = np.array([63190, 65536, 54061]) / 2**16
"""ICC.1:2022, section 7.2.16."""
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
"""ICC.1:2022, annex E."""
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""IEC 61966-2-1, as a parametric curve of type 3."""


def main() -> None:
    tags = {
        b"desc": text("Compatible with Display P3"),
        b"cprt": text("CC0"),
        b"wtpt": xyz(D50),
        b"chad": b"sf32" + bytes(4) + numbers(adaptation()),
    }
    for letter, column in zip("rgb", colorants().T, strict=True):
        tags[f"{letter}XYZ".encode()] = xyz(column)
        tags[f"{letter}TRC".encode()] = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + numbers(SRGB_CURVE)
    TARGET.write_bytes(profile(tags))


def white_xyz() -> NDArray[np.float64]:
    x, y = D65
    return np.array([x / y, 1, (1 - x - y) / y])


def adaptation() -> NDArray[np.float64]:
    """From XYZ in light of D65 to D50 (ICC.1:2022, annex E)."""
    cones = (BRADFORD @ D50) / (BRADFORD @ white_xyz())
    matrix: NDArray[np.float64] = np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD
    return matrix


def colorants() -> NDArray[np.float64]:
    """The primaries in XYZ of white D50, in columns, which make white together (SMPTE RP 177)."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES]).T
    adapted: NDArray[np.float64] = adaptation() @ (columns * np.linalg.solve(columns, white_xyz()))
    return adapted


def numbers(values: NDArray[np.float64] | tuple[float, ...]) -> bytes:
    """As s15Fixed16Number."""
    fixed = [round(float(value) * 2**16) for value in np.ravel(values)]
    return struct.pack(f">{len(fixed)}i", *fixed)


def xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + numbers(values)


def text(words: str) -> bytes:
    """A multiLocalizedUnicodeType with one record."""
    encoded = words.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded


def profile(tags: dict[bytes, bytes]) -> bytes:
    """Header, table, and tags at multiples of 4; equal ones are stored once (ICC.1:2022, section 7)."""
    begin = 128 + 4 + 12 * len(tags)
    body, table, places = b"", struct.pack(">I", len(tags)), dict[bytes, int]()
    for name, value in tags.items():
        if value not in places:
            places[value] = begin + len(body)
            body += value + bytes(-len(value) % 4)
        table += struct.pack(">4sII", name, places[value], len(value))
    header = struct.pack(">I4xI4s4s4s", begin + len(body), 0x04200000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp")
    header = header.ljust(68, b"\0") + numbers(D50)
    return header.ljust(128, b"\0") + table + body


if __name__ == "__main__":
    main()
