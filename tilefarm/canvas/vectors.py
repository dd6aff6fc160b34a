"""Arithmetic on float32 vectors in files, streamed in blocks: what the exact method's optimizer needs.

Vectors are as long as the picture has values (81 million at 6000x4500), so none is ever in memory as a
whole; the operating system keeps in memory what fits. Blocks are worked on by several threads, and
their sums are added in float64 in the order of the blocks: the result depends neither on the number of
threads nor on which was first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tilefarm.files import reserve

BLOCK = 1 << 20
"""Values per block: 4 MiB of each vector that takes part."""
_LANE = 4096
"""Values that are added up in float32; at this length pairwise rounding stays near 1e-7."""
_ITEM = 4

_Result = TypeVar("_Result")


def dots(vectors: Sequence[Path], others: Sequence[Path], length: int) -> NDArray[np.float64]:
    """All dot products of `vectors` with `others`, shape (len(vectors), len(others))."""

    def block(start: int, count: int) -> NDArray[np.float64]:
        right = [_read(path, start, count) for path in others]
        result = np.empty((len(vectors), len(others)))
        for row, path in enumerate(vectors):
            left = _read(path, start, count)
            result[row] = [_dot(left, other) for other in right]
        return result

    return sum(_blocks(length, block), np.zeros((len(vectors), len(others))))


def norm1(vector: Path, length: int) -> float:
    """The sum of absolute values."""

    def block(start: int, count: int) -> float:
        return float(np.abs(_read(vector, start, count)).sum(dtype=np.float64))

    return sum(_blocks(length, block), 0.0)


def is_finite(vector: Path, length: int) -> bool:
    """Whether every value is a finite number."""

    def block(start: int, count: int) -> bool:
        return bool(np.isfinite(_read(vector, start, count)).all())

    return all(_blocks(length, block))


def combine(target: Path, terms: Sequence[tuple[float, Path]], length: int) -> None:
    """target = sum of factor * vector. `target` may be one of the vectors."""
    if not target.exists() or target.stat().st_size != length * _ITEM:
        reserve(target, length * _ITEM)
    descriptor = os.open(target, os.O_WRONLY)

    def block(start: int, count: int) -> None:
        total = np.zeros(count, dtype=np.float32)
        for factor, path in terms:
            total += np.float32(factor) * _read(path, start, count)
        _write(descriptor, total, start)

    try:
        _blocks(length, block)
    finally:
        os.close(descriptor)


def transform(
    target: Path,
    sources: Sequence[Path],
    function: Callable[..., NDArray[np.float32]],
    length: int,
) -> None:
    """target = function(*sources), value by value; `function` gets and gives float32 blocks, (count,).

    `target` may be one of the sources.
    """
    if not target.exists() or target.stat().st_size != length * _ITEM:
        reserve(target, length * _ITEM)
    descriptor = os.open(target, os.O_WRONLY)

    def block(start: int, count: int) -> None:
        _write(descriptor, function(*(_read(path, start, count) for path in sources)), start)

    try:
        _blocks(length, block)
    finally:
        os.close(descriptor)


def _blocks(length: int, work: Callable[[int, int], _Result]) -> list[_Result]:
    """The results for all blocks, in order."""
    starts = range(0, length, BLOCK)
    if len(starts) == 1:
        return [work(0, length)]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda start: work(start, min(BLOCK, length - start)), starts))


def _read(path: Path, start: int, count: int) -> NDArray[np.float32]:
    values: NDArray[np.float32] = np.fromfile(path, dtype="<f4", count=count, offset=start * _ITEM)
    if len(values) != count:
        raise OSError(f"{path} is shorter than the vector that it should hold")
    return values


def _write(descriptor: int, values: NDArray[np.float32], start: int) -> None:
    view = memoryview(values.astype("<f4", copy=False).tobytes())
    offset = start * _ITEM
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _dot(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """In float32 within lanes, in float64 across them. einsum, since BLAS would split over its threads."""
    whole = len(left) // _LANE * _LANE
    lanes = np.einsum("ij,ij->i", left[:whole].reshape(-1, _LANE), right[:whole].reshape(-1, _LANE))
    rest = np.einsum("i,i->", left[whole:], right[whole:])
    return float(lanes.sum(dtype=np.float64) + rest)
