"""Colour profiles that are three curves and a matrix, computed in floating point.

Profiles of RGB working spaces, cameras and displays are of this kind. LittleCMS computes them closely for
8 bits, but for 16 bits it puts a coarse table in the place of curves and matrix: colours that went from
sRGB to Adobe RGB and back came out up to 2/255 off, dark ones most.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyvips
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_COLORANTS = (b"rXYZ", b"gXYZ", b"bXYZ")
_CURVES = (b"rTRC", b"gTRC", b"bTRC")
_TABLES = (b"A2B", b"B2A", b"D2B", b"B2D")
_PARAMETERS = (1, 3, 4, 5, 7)
"""How many numbers each type of parametric curve has."""
_MOST_TAGS = 200
_ENTRIES = {"uchar": 2**8, "ushort": 2**16}


@dataclass(frozen=True)
class MatrixProfile:
    """Numbers of 0..1 become linear light by the curves, and XYZ of white D50 by the matrix."""

    curves: tuple[Curve, Curve, Curve]
    matrix: Matrix
    """Shape (3, 3); the colorants are its columns."""

    def linear(self, image: pyvips.Image) -> pyvips.Image:
        """Linear light, float, from 3 bands of 8 or 16 bits: every number that there is, by a table."""
        numbers = np.linspace(0, 1, _ENTRIES[str(image.format)])
        table = np.stack([curve(numbers) for curve in self.curves], axis=-1).astype(np.float32)
        return image.maplut(pyvips.Image.new_from_memory(table, len(numbers), 1, 3, "float"))


def matrix_profile(data: bytes) -> MatrixProfile | None:
    """The curves and the matrix of an RGB profile by ICC.1:2022; None where it has others, or is damaged.

    Also None where black is not 0, since black point compensation would then have something to do.
    """
    try:
        tags = _tags(data)
        if data[20:24] != b"XYZ " or any(name[:3] in _TABLES for name in tags):
            return None
        matrix = np.array([struct.unpack(">3i", tags[name][8:20]) for name in _COLORANTS]).T / 2**16
        red, green, blue = (_curve(tags[name]) for name in _CURVES)
    except (KeyError, IndexError, ValueError, struct.error):
        return None
    ends = np.array([curve(np.array([0.0, 1.0])) for curve in (red, green, blue)])
    if not np.isfinite(ends).all() or ends[:, 0].any():
        return None
    return MatrixProfile((red, green, blue), matrix)


def _tags(data: bytes) -> dict[bytes, bytes]:
    """Section 7.3: a count, and then name, offset and length of each tag."""
    (count,) = struct.unpack_from(">I", data, 128)
    places = [
        struct.unpack_from(">4sII", data, 132 + 12 * number) for number in range(min(count, _MOST_TAGS))
    ]
    return {name: data[offset : offset + length] for name, offset, length in places}


def _curve(tag: bytes) -> Curve:
    """Sections 10.6 and 10.18. Raises ValueError for another kind."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        samples = np.frombuffer(tag, ">u2", count, 12)
        if count == 0:
            return lambda numbers: numbers
        if count == 1:
            return _power(samples[0] / 2**8)
        table = samples / (2**16 - 1)
        return lambda numbers: np.interp(numbers, np.linspace(0, 1, count), table)
    if tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        return _parametric(
            kind, [value / 2**16 for value in struct.unpack_from(f">{_PARAMETERS[kind]}i", tag, 12)]
        )
    raise ValueError(f"no curve, but {tag[:4]!r}")


def _power(gamma: float) -> Curve:
    return lambda numbers: numbers**gamma


def _parametric(kind: int, values: list[float]) -> Curve:
    """ICC.1:2022, table 68: (a x + b)^g + e from d on, and c x + f below."""
    g, a, b, c, d, e, f = (*values, *([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0][len(values) :]))
    if kind == 0:
        return _power(g)
    if kind in (1, 2):  # the third number is what is added, and the curve begins where its base is 0
        e = f = c if kind == 2 else 0.0
        c, d = 0.0, -b / a if a else 0.0

    def curve(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(numbers >= d, np.maximum(a * numbers + b, 0) ** g + e, c * numbers + f)

    return curve
