"""ICC profiles of curves and a matrix, written from published figures for tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

D50, D65 = (0.3457, 0.3585), (0.3127, 0.3290)
"""Chromaticities of white."""
_CONNECTION = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

Primaries = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


def to_xyz(primaries: Primaries, white: tuple[float, float]) -> NDArray[np.float64]:
    """From linear light to XYZ of white D50: SMPTE RP 177, and Bradford's adaptation."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    light = np.array([white[0] / white[1], 1, (1 - sum(white)) / white[1]])
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _CONNECTION / (_BRADFORD @ light)) @ _BRADFORD
    return np.asarray(adapted @ columns * np.linalg.solve(columns, light))


def fixed(values: Iterable[float]) -> bytes:
    """As s15Fixed16Number."""
    numbers = [round(float(value) * 65536) for value in values]
    return struct.pack(f">{len(numbers)}i", *numbers)


def gamma_curve(gamma: float) -> bytes:
    """Of version 2: one number of 8 bits after the point."""
    return b"curv" + struct.pack(">4xIH", 1, round(gamma * 256))


def table_curve(values: NDArray[np.float64]) -> bytes:
    """Of version 2: samples from 0 to 1."""
    return b"curv" + struct.pack(">4xI", len(values)) + np.rint(values * 65535).astype(">u2").tobytes()


def parametric_curve(kind: int, *parameters: float) -> bytes:
    """Of version 4."""
    return b"para" + struct.pack(">4xHH", kind, 0) + fixed(parameters)


def profile_file(
    tags: Mapping[str, bytes], space: bytes = b"RGB ", pcs: bytes = b"XYZ ", kind: bytes = b"mntr"
) -> bytes:
    """Header, table of tags, tags."""
    text = b"desc" + struct.pack(">4xI", 5) + b"Test\0" + bytes(78)
    white = b"XYZ " + bytes(4) + fixed(_CONNECTION)
    everything = {"desc": text, "cprt": b"text\0\0\0\0CC0\0", "wtpt": white, **tags}
    start, body, index = 132 + 12 * len(everything), b"", struct.pack(">I", len(everything))
    for name, value in everything.items():
        index += struct.pack(">4sII", name.encode(), start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    header = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x02400000, kind, space, pcs, b"acsp")
    return (header.ljust(68, b"\0") + fixed(_CONNECTION)).ljust(128, b"\0") + index + body


def rgb_profile(matrix: NDArray[np.float64], curve: bytes, **more: bytes) -> bytes:
    """Three equal curves and a matrix to XYZ."""
    tags = {
        f"{name}XYZ": b"XYZ " + bytes(4) + fixed(column) for name, column in zip("rgb", matrix.T, strict=True)
    }
    return profile_file(tags | {f"{name}TRC": curve for name in "rgb"} | more)
