"""Arithmetic on float32 vectors in files, streamed in blocks: what the exact method's optimizer needs.

Vectors are as long as the picture has values (81 million at 6000x4500), so none is ever in memory as a
whole; the operating system keeps in memory what fits. Blocks are worked on by several threads, and
their sums are added in float64 in the order of `plan.cut`: the result depends neither on the number of
threads nor on which was first, nor on whether the vectors are in files at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tilefarm.files import reserve
from tilefarm.geometry import Box
from tilefarm.image.window import open_raw
from tilefarm.plan.cut import BLOCK, Cut
from tilefarm.solve.values import block_dots, block_norm1, combined

_ITEM = 4

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


Difference = tuple[Path, Path, Path]


class Vectors(Protocol):
    """Arithmetic on vectors that are called by the files that they have, or would have."""

    @property
    def cut(self) -> Cut:
        """The picture that they are of, and its cores."""

    def dots(self, vectors: Sequence[Path], others: Sequence[Path]) -> NDArray[np.float64]:
        """All dot products of `vectors` with `others`, shape (len(vectors), len(others))."""

    def norm1(self, vector: Path) -> float:
        """The sum of absolute values."""

    def is_finite(self, vector: Path) -> bool:
        """Whether every value is a finite number."""

    def combine(self, target: Path, terms: Sequence[tuple[float, Path]]) -> None:
        """target = sum of factor * vector. `target` may be one of the vectors."""

    def differences(self, one: Difference, other: Difference) -> float:
        """Make two vectors, (target, of, without) each: target = of - without. Returns their dot product."""


@dataclass(frozen=True)
class FileVectors:
    """Vectors in files; all are of one length, and their sums are formed over the same cores."""

    cut: Cut

    def dots(self, vectors: Sequence[Path], others: Sequence[Path]) -> NDArray[np.float64]:
        """All dot products of `vectors` with `others`, shape (len(vectors), len(others))."""

        def block(box: Box) -> NDArray[np.float64]:
            right = [self._window(path, box) for path in others]
            return np.concatenate([block_dots([self._window(path, box)], right) for path in vectors])

        return self._summed(block, np.zeros((len(vectors), len(others))))

    def norm1(self, vector: Path) -> float:
        """The sum of absolute values."""
        found = self._summed(
            lambda box: np.array([[block_norm1(self._window(vector, box))]]), np.zeros((1, 1))
        )
        return float(found[0, 0])

    def is_finite(self, vector: Path) -> bool:
        """Whether every value is a finite number."""
        return all(self._blocks(lambda start, count: bool(np.isfinite(_read(vector, start, count)).all())))

    def combine(self, target: Path, terms: Sequence[tuple[float, Path]]) -> None:
        """target = sum of factor * vector. `target` may be one of the vectors."""
        self._write_blocks(
            target,
            lambda start, count: combined([(factor, _read(path, start, count)) for factor, path in terms]),
        )

    def differences(self, one: Difference, other: Difference) -> float:
        """Make two vectors, (target, of, without) each: target = of - without. Returns their dot product."""
        for target, of, without in (one, other):
            self.combine(target, [(1.0, of), (-1.0, without)])
        return float(self.dots([one[0]], [other[0]])[0, 0])

    def transform(
        self, target: Path, sources: Sequence[Path], function: Callable[..., NDArray[np.float32]]
    ) -> None:
        """target = function(*sources), value by value; `function` gets and gives float32 blocks, (count,).

        `target` may be one of the sources.
        """
        self._write_blocks(
            target, lambda start, count: function(*(_read(path, start, count) for path in sources))
        )

    def _summed(
        self, block: Callable[[Box], NDArray[np.float64]], nothing: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The blocks of each core added up, and then the cores."""
        cut = self.cut
        places = [(number, box) for number, core in enumerate(cut.cores) for box in cut.blocks(core)]
        cores = [np.zeros_like(nothing) for _ in cut.cores]
        for (number, _), found in zip(places, _all(places, lambda place: block(place[1])), strict=True):
            cores[number] += found
        return sum(cores, nothing)

    def _window(self, path: Path, box: Box) -> NDArray[np.float32]:
        picture = open_raw(path, self.cut.size, channels=self.cut.channels)
        return np.array(picture[box.top : box.bottom, box.left : box.right], order="C", subok=False)

    def _write_blocks(self, target: Path, work: Callable[[int, int], NDArray[np.float32]]) -> None:
        length = self.cut.length
        if not target.exists() or target.stat().st_size != length * _ITEM:
            reserve(target, length * _ITEM)
        descriptor = os.open(target, os.O_WRONLY)
        try:
            self._blocks(lambda start, count: _write(descriptor, work(start, count), start))
        finally:
            os.close(descriptor)

    def _blocks(self, work: Callable[[int, int], _Result]) -> list[_Result]:
        """Of (first value, count), in order: for work that does not ask where in the picture it is."""
        length = self.cut.length
        return _all(range(0, length, BLOCK), lambda start: work(start, min(BLOCK, length - start)))


def _all(items: Iterable[_Item], work: Callable[[_Item], _Result]) -> list[_Result]:
    """The results for all items, in order."""
    listed = [*items]
    if len(listed) == 1:
        return [work(listed[0])]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, listed))


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
