"""Vectors of a whole picture whose cores lie with the workers of their pieces: the driver has names alone.

Points and gradients travel as halos between workers. To the driver come dot products, core by core, which are
added up as `canvas.vectors` does it: the bits are those of vectors in files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilefarm.canvas.vectors import Difference
from tilefarm.errors import ResourceError, VectorsLostError
from tilefarm.exact.evaluate import AgainError, WholePicture
from tilefarm.exact.meetings import stages
from tilefarm.execute.call import WorkFailedError
from tilefarm.execute.order import turns
from tilefarm.execute.protocol import Crews, Executor
from tilefarm.files import reserve
from tilefarm.geometry import Box, Size
from tilefarm.image.window import open_raw, raw_bytes, read_window
from tilefarm.plan.cut import Cut
from tilefarm.plan.halo import Piece
from tilefarm.solve.branches import Branch
from tilefarm.solve.contract import SolverSettings
from tilefarm.solve.core_tasks import (
    Action,
    Collect,
    Combine,
    CoreDone,
    CoreTask,
    Differences,
    Dots,
    Get,
    Join,
    Norm1,
    Part,
    Place,
    Put,
    Variation,
)
from tilefarm.solve.tasks import MissingState
from tilefarm.solve.traffic import Traffic

POINT = "x"
"""How the names of points begin."""
_VALUE = 12
"""Bytes of a pixel."""


class CoreVectors:
    """`canvas.vectors.Vectors` whose names are those of files that need not be there.

    Everything raises VectorsLostError where a worker is gone with what it had.
    """

    def __init__(self, executor: Executor, settings: SolverSettings, picture: WholePicture) -> None:
        self._executor = executor
        self._settings = settings
        self._picture = picture
        self._session = 0
        self._crew: frozenset[int] = frozenset()
        self._crews: Crews = ()
        self._finite: dict[str, bool] = {}
        cores = [piece.core for piece in picture.pieces]
        self.reaches = [reach(piece, picture.size) for piece in picture.pieces]
        self.halos = neighbours(cores, self.reaches)
        """Of points."""
        self.shares = reversed_halos(neighbours(cores, [piece.crop for piece in picture.pieces]))
        """Of gradients."""
        self._parts: dict[str, list[tuple[Part, ...]]] = {}
        self.on_traffic: Callable[[Traffic], None] = lambda traffic: None
        """Told of vectors that are handed out or brought back."""

    @property
    def cut(self) -> Cut:
        """The picture and its cores."""
        return self._picture.cut

    def place(self, index: int) -> Place:
        """Of a piece's core."""
        piece = self._picture.pieces[index]
        return Place(index, self._picture.key, self._session, piece.core)

    def parts(self, point: Path) -> list[tuple[Part, ...]]:
        """Per piece what its crop needs of its neighbours' cores; `point` was made by `combine`."""
        return self._parts[point.stem]

    def hand_out(self, files: Sequence[Path]) -> None:
        """Begin anew with these vectors, read from their files, and with all workers that are there."""
        self._session += 1
        self._parts.clear()
        size, places = self._picture.size, [self.place(index) for index in range(len(self._picture.pieces))]
        self._executor.share_out(self._settings, places)
        self._crew = self._executor.up
        self._crews = self._executor.crews(self._settings, places)

        def put(path: Path, index: int) -> Put:
            return Put(path.stem, read_window(open_raw(path, size), self._picture.pieces[index].core))

        for path in files:  # one by one: calls of all workers are in memory at a time
            for _ in self._each(partial(put, path), self.turns()):
                pass
        self._crews = self._executor.crews(self._settings, places)  # nobody may have been there before
        self.on_traffic(Traffic(vectors=len(files) * size.pixels * _VALUE))

    def turns(self) -> list[int]:
        """All pieces, in the order in which they are given out."""
        if not self._crews:
            return [*range(len(self._picture.pieces))]
        return turns(pieces for machine in self._crews for pieces in machine)

    def joined(self, evaluation: int) -> tuple[tuple[Branch, ...], int]:
        """The statistics of pass 1, added up by each worker, by each machine, and from machine to machine.

        Also how many branches have gone from worker to worker for that.
        """
        if not self._crews:
            raise VectorsLostError("no worker is there")
        given: dict[int, tuple[Branch, ...]] = {}
        handed = 0
        for meetings in stages(self._crews):
            joins = {}
            for each in meetings:
                handed += sum(len(given[guest]) for guest in each.guests if guest != each.host)
                brought = tuple(branch for guest in each.guests for branch in given.pop(guest))
                joins[each.host] = Join(evaluation, each.pieces, brought, each.to_driver)
            for done in self._each(joins.__getitem__, [*joins]):
                given[done.index] = done.branches
        (branches,) = given.values()
        return branches, handed

    def should_move(self) -> bool:
        """Whether workers have joined or come back since, or some are far slower than it seemed."""
        return not self._executor.up <= self._crew or self._executor.is_uneven()

    def bring(self, vector: Path, target: Path) -> None:
        """Write a vector into a file."""
        size = self._picture.size
        reserve(target, raw_bytes(size))
        for done in self._each(lambda index: Get(vector.stem), self.turns()):
            box = self._picture.pieces[done.index].core
            pixels = open_raw(target, size, "r+")
            pixels[box.top : box.bottom, box.left : box.right] = done.pixels
            del pixels  # opened anew so that no more than a core stays mapped
        self.on_traffic(Traffic(vectors=size.pixels * _VALUE))

    def dots(self, vectors: Sequence[Path], others: Sequence[Path]) -> NDArray[np.float64]:
        """All dot products of `vectors` with `others`, shape (len(vectors), len(others))."""
        action = Dots(tuple(path.stem for path in vectors), tuple(path.stem for path in others))
        return self._summed(action, np.zeros((len(vectors), len(others))))

    def norm1(self, vector: Path) -> float:
        """The sum of absolute values."""
        return float(self._summed(Norm1(vector.stem), np.zeros((1, 1)))[0, 0])

    def is_finite(self, vector: Path) -> bool:
        """Whether every value of a gradient is a finite number."""
        return self._finite[vector.stem]

    def combine(self, target: Path, terms: Sequence[tuple[float, Path]]) -> None:
        """target = sum of factor * vector; of a point the neighbours get their parts."""
        names = tuple((factor, path.stem) for factor, path in terms)
        is_point = target.stem.startswith(POINT)
        boxes = [tuple(box for _, box in others) if is_point else () for others in self.halos]
        given = [*self._each(lambda index: Combine(target.stem, names, boxes[index]))]
        if is_point:
            self._parts[target.stem] = received(given, self.halos)

    def differences(self, one: Difference, other: Difference) -> float:
        """Make two vectors, (target, of, without) each: target = of - without. Returns their dot product."""
        first, second = ((target.stem, of.stem, without.stem) for target, of, without in (one, other))
        return float(self._summed(Differences(first, second), np.zeros((1, 1)))[0, 0])

    def collect(
        self, gradient: Path, parts: Sequence[tuple[Part, ...]], variation: Variation | None
    ) -> Iterator[int]:
        """Make a gradient of its shares; gives the numbers of the pieces that are done."""
        finite = True
        for done in self._each(lambda index: Collect(gradient.stem, parts[index], variation)):
            finite &= done.is_finite
            yield done.index
        self._finite[gradient.stem] = finite

    def _summed(self, action: Dots | Norm1 | Differences, total: NDArray[np.float64]) -> NDArray[np.float64]:
        for done in self._each(lambda index: action):
            total = total + np.asarray(done.numbers)
        return total

    def _each(
        self, action: Callable[[int], Action], turns: Sequence[int] | None = None
    ) -> Iterator[CoreDone]:
        """Do something with every core, or with those of `turns`; the answers in this order."""
        indices = range(len(self._picture.pieces)) if turns is None else turns
        tasks = (CoreTask(self.place(index), action(index)) for index in indices)
        return unlost(self._executor.with_cores(self._settings, tasks))


Halos = list[list[tuple[int, Box]]]
"""Per piece: (another one, where the first one's core lies in the other one's box)."""


def reach(piece: Piece, size: Size) -> Box:
    """The crop, and the pixels next to the core, whose differences the total variation takes."""
    core, crop = piece.core, piece.crop
    return Box(
        min(crop.left, max(0, core.left - 1)),
        min(crop.top, max(0, core.top - 1)),
        max(crop.right, min(size.width, core.right + 1)),
        max(crop.bottom, min(size.height, core.bottom + 1)),
    )


def neighbours(cores: Sequence[Box], boxes: Sequence[Box]) -> Halos:
    """Whose boxes reach into each core, and where."""
    edges = np.array([[box.left, box.top, box.right, box.bottom] for box in boxes])
    found: Halos = []
    for index, core in enumerate(cores):
        left, top = np.maximum(edges[:, 0], core.left), np.maximum(edges[:, 1], core.top)
        right, bottom = np.minimum(edges[:, 2], core.right), np.minimum(edges[:, 3], core.bottom)
        others = np.flatnonzero((left < right) & (top < bottom))
        found.append(
            [
                (int(other), Box(int(left[other]), int(top[other]), int(right[other]), int(bottom[other])))
                for other in others
                if other != index
            ]
        )
    return found


def reversed_halos(halos: Halos) -> Halos:
    """Per piece: (another one, where the first one's box lies in the other one's core)."""
    found: Halos = [[] for _ in halos]
    for index, others in enumerate(halos):
        for other, box in others:
            found[other].append((index, box))
    return found


def received(given: Sequence[CoreDone], halos: Halos) -> list[tuple[Part, ...]]:
    """What each piece gets of the parts that all have handed out, in the order of `halos`."""
    parts: list[list[Part]] = [[] for _ in halos]
    for done in given:
        for (other, box), handle in zip(halos[done.index], done.parts, strict=True):
            parts[other].append(Part(done.index, box, handle))
    return [tuple(each) for each in parts]


def halo_bytes(halos: Halos) -> int:
    """Of a point or a gradient, all parts together."""
    return sum(box.size.pixels for others in halos for _, box in others) * _VALUE


def unlost(answers: Iterator[Any]) -> Iterator[Any]:
    """Raises VectorsLostError for the first core that is gone, or with which nobody can work, and AgainError
    where its worker lacks nothing but what it kept for speed."""
    try:
        for answer in answers:
            if isinstance(answer, MissingState):
                if answer.has_core:
                    raise AgainError
                raise VectorsLostError(f"the vectors of piece {answer.index} are gone with their worker")
            yield answer
    except (WorkFailedError, ResourceError) as error:  # of workers: the disk is nobody's concern here
        raise VectorsLostError(str(error)) from error
