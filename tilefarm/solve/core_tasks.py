"""Work on vectors whose cores lie with the workers of their pieces: plain data, no torch, as in `tasks`.

Vectors of a whole picture, such as a point or a gradient, are called by names. Of what a core's neighbours
need, and of what it needs from them, parts travel from worker to worker; a task only says where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilefarm.geometry import Box, Size
from tilefarm.solve.branches import Branch
from tilefarm.solve.contract import Picture
from tilefarm.solve.tasks import PieceSums, PieceTask

Handle = Any
"""A `Picture`, or what an executor puts in its place to fetch it with."""


@dataclass(frozen=True)
class Part:
    """What one piece has for another."""

    index: int
    """The piece that it comes from."""
    box: Box
    """Its place in the whole picture."""
    pixels: Handle


@dataclass(frozen=True)
class Place:
    """A core among the cores that lie with the workers."""

    index: int
    level: str
    """Names the run and level."""
    session: int
    """Counts how often the vectors were handed out; those of one before are void."""
    core: Box
    """In the whole picture."""


@dataclass(frozen=True)
class OfCore:
    """What is done where one core lies."""

    place: Place

    @property
    def index(self) -> int:
        """Of the piece."""
        return self.place.index

    @property
    def level(self) -> str:
        """Names the run and level."""
        return self.place.level

    @property
    def core(self) -> Box:
        """In the whole picture."""
        return self.place.core


@dataclass(frozen=True)
class Put:
    """Take the core of a vector."""

    vector: str
    pixels: Picture


@dataclass(frozen=True)
class Get:
    """Hand out the core of a vector."""

    vector: str


@dataclass(frozen=True)
class Combine:
    """target = sum of factor * vector, in this order; the parts of it at `boxes` are handed out."""

    target: str
    terms: tuple[tuple[float, str], ...]
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Differences:
    """Two vectors, (target, of, without) each: target = of - without; and their dot product, shape (1, 1)."""

    one: tuple[str, str, str]
    other: tuple[str, str, str]


@dataclass(frozen=True)
class Dots:
    """All dot products of `rows` with `columns`, shape (len(rows), len(columns)), float64."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Norm1:
    """The sum of absolute values, float64, shape (1, 1)."""

    vector: str


@dataclass(frozen=True)
class Collect:
    """Add up a core's gradient after pass 2: its own share and its neighbours', in the order of the pieces.

    The answer is whether all of it is finite.
    """

    target: str
    parts: tuple[Part, ...]
    variation: Variation | None = None


@dataclass(frozen=True)
class Variation:
    """The total variation's share of the gradient."""

    size: Size
    """Of the whole picture."""
    factor: float
    exponent: float


@dataclass(frozen=True)
class Join:
    """Hand out the statistics of pass 1: those of this worker's pieces, or what workers have handed out."""

    evaluation: int
    pieces: tuple[int, ...] = ()
    """Those of its pieces that are meant: while a worker is away, another has some of its pieces."""
    others: tuple[Branch, ...] = ()
    """What is added up here in place of pieces, its own among them."""
    to_driver: bool = False
    """Whether the answer goes to the driver, or is handed out to another worker."""


Action = Put | Get | Combine | Differences | Dots | Norm1 | Collect | Join


@dataclass(frozen=True)
class CoreTask(OfCore):
    """Something to do with one core's vectors."""

    action: Action


@dataclass(frozen=True)
class CoreGroup:
    """What is done with the cores of one worker, one after the other."""

    tasks: tuple[CoreTask, ...]

    @property
    def index(self) -> int:
        """Of the first piece."""
        return self.tasks[0].index

    @property
    def level(self) -> str:
        """Names the run and level."""
        return self.tasks[0].level

    @property
    def core(self) -> Box:
        """Of the first piece."""
        return self.tasks[0].core


@dataclass(frozen=True)
class CoreDone:
    """It was done."""

    index: int
    numbers: NDArray[np.float64] | None = None
    """Of `Dots`, `Norm1` and `Differences`."""
    parts: tuple[Handle, ...] = ()
    """Of `Combine` and of pass 2, in the order of the boxes."""
    pixels: Picture | None = None
    """Of `Get`."""
    is_finite: bool = True
    """Of `Collect` and of pass 2."""
    branches: tuple[Branch, ...] = ()
    """Of `Join`."""
    to_driver: bool = False
    """Of `Join`, as asked."""


@dataclass(frozen=True)
class CropTask(OfCore):
    """A pass over a piece whose crop is put together where it is."""

    piece: PieceTask
    """Without its crop."""
    point: str
    """The vector that the crop is of."""
    crop: Box
    """In the whole picture."""
    reach: Box
    """What is put together: the crop, and the core's next neighbours where the halo leaves them out."""
    parts: tuple[Part, ...] = ()
    """Pass 1: of the reach, what is not the piece's own core."""
    boxes: tuple[Box, ...] = ()
    """Pass 2: the neighbours' shares of the gradient."""
    has_graph: bool = False
    """Pass 2: whether the worker has the graph of pass 1."""


@dataclass(frozen=True)
class CropSums:
    """Pass 1: the piece's share of the statistics, and of the total variation."""

    index: int
    sums: PieceSums
    """But for its styles, which stay with the worker until they are joined."""
    is_finite: bool
    """Whether all of the statistics are, those that stay too."""
    horizontal: float
    """sum |d|^p over the core's pixels and their right neighbours."""
    vertical: float
    """The same with the neighbours below."""
