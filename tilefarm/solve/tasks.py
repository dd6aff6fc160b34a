"""The pieces of work that a solver does and what comes back: plain data, no torch, as in `contract`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tilefarm.geometry import Box
from tilefarm.solve.coding import Coded, Coding
from tilefarm.solve.contract import Losses, Picture, Regions


@dataclass(frozen=True)
class AdamMoments:
    """Adam's memory of a picture: means of the gradients so far, free of the bias of their start."""

    gradient: Picture
    square: Picture
    """Of the gradients' squares, not negative."""
    count: int
    """How many gradients they stand for."""


@dataclass(frozen=True)
class Recording:
    """What shall be written down on the way, of a level that is solved whole as one tile."""

    every: int
    """Steps between two small pictures; 0: none."""
    inside: Box
    """The part of the tile that they show: the level without its border."""
    long_side: int
    """Of the small pictures, at most."""


@dataclass(frozen=True)
class TileTask:
    """One tile to optimise."""

    index: int
    image: Picture
    """Where the optimisation starts."""
    content: Picture
    """The content at the same place, the same shape."""
    iterations: int
    regions: Regions | None = None
    """Where the style of each region acts; None where there is one style for all."""
    moments: AdamMoments | None = None
    """Of Adam: where its means start; None for none at all."""
    recording: Recording | None = None
    """Given only for a tile that is alone in its batch."""


@dataclass(frozen=True)
class TileSolution:
    """What became of one tile."""

    index: int
    image: Picture
    first: Losses
    """At the start."""
    last: Losses
    """At the returned image."""
    iterations: int
    rollbacks: int
    """How often a non-finite loss or gradient sent the tile back to its last good point."""
    seconds: float
    moments: AdamMoments | None = None
    """Of Adam: its means after the last gradient."""
    curve: tuple[Losses, ...] = ()
    """After every step, where the task asks for a recording."""
    frames: tuple[tuple[int, bytes], ...] = ()
    """(step, JPEG file) for every so many steps, likewise."""
    gone_wrong: int = 0
    """Results of this worker that were thrown away since its last, because they were not finite."""


@dataclass(frozen=True)
class MeasureTask:
    """One piece of a picture whose statistics are wanted."""

    index: int
    crop: Picture
    """The piece with its halo."""
    core: Box
    """The part of the crop whose positions count, in the crop's pixels. Left and top are multiples of
    the deepest layer's stride; right and bottom are too, or end where the crop ends."""
    kind: Literal["style", "content"]
    regions: Regions | None = None
    """For kind 'style': the shares of regions in the crop's pixels; None: all of it is one region."""


@dataclass(frozen=True)
class LayerSums:
    """Sums of a style layer's features over positions, for each region; those of pieces add up."""

    weights: NDArray[np.float64]
    """The sum of the region's shares, the number of positions where it is everywhere; shape (regions,)."""
    sums: NDArray[np.float64]
    """sum(w f), shape (regions, channels)."""
    products: NDArray[np.float64]
    """sum(w f f^T), shape (regions, channels, channels)."""

    def __add__(self, other: LayerSums) -> LayerSums:
        return LayerSums(self.weights + other.weights, self.sums + other.sums, self.products + other.products)


@dataclass(frozen=True)
class FoldedSums:
    """`LayerSums` with the upper triangle of their products; those of pieces add up in float64."""

    weights: NDArray[np.float64]
    """Shape (regions,)."""
    sums: NDArray[np.floating[Any]]
    """Shape (regions, channels)."""
    products: NDArray[np.floating[Any]]
    """Rows of the upper triangle one after the other, shape (regions, channels (channels + 1) / 2)."""

    def __add__(self, other: FoldedSums) -> FoldedSums:
        return FoldedSums(
            self.weights + other.weights,
            np.add(self.sums, other.sums, dtype=np.float64),
            np.add(self.products, other.products, dtype=np.float64),
        )


@dataclass(frozen=True)
class Measurement:
    """Sums over the positions of a piece's core; sums of pieces add up to the whole picture's."""

    index: int
    positions: dict[str, int]
    """Per layer the number of positions counted."""
    styles: dict[str, LayerSums]
    """Per style layer; empty for kind 'content'."""
    squares: dict[str, float]
    """Per content layer sum(f^2) over positions and channels; empty for kind 'style'."""
    seconds: float


@dataclass(frozen=True)
class PieceTask:
    """One piece of a picture in an evaluation of the exact method."""

    index: int
    level: str
    """Names the run and level: content features that a worker keeps belong to one of them."""
    core: Box
    """The part of the crop whose positions count, in the crop's pixels."""
    crop: Coded | None
    """The piece with its halo; None where the worker has kept the crop or the graph of this piece."""
    content: Coded | None
    """The content at the same place; None where the worker has kept its features, and the regions."""
    evaluation: int = 0
    """Counts the first passes over the level: graphs that a worker keeps belong to one of them."""
    regions: Regions | None = None
    """The shares of regions at the same place; None too where there is one style for all."""
    coding: Coding = "float32"
    """How the gradient comes back; with `half` the sums come in float32 in place of float64."""


@dataclass(frozen=True)
class PieceSums:
    """Pass 1 of the exact method: one piece's share of the whole picture's statistics."""

    index: int
    positions: dict[str, int]
    """Per layer, style or content, the number of positions of the core."""
    styles: dict[str, FoldedSums]
    """Per style layer."""
    content_errors: dict[str, float]
    """Per content layer sum((F - P)^2) over positions and channels."""
    holds_graph: bool
    """Whether the worker kept this piece's graph for pass 2."""
    holds_content: bool
    """Whether the worker kept the content's features of this piece for the level."""
    gone_wrong: int = 0
    """Results of this worker that were thrown away since its last, because they were not finite."""
    holds_crop: bool = False
    """Whether the worker kept the crop for pass 2."""


@dataclass(frozen=True)
class Derivatives:
    """How the whole picture's loss changes with its statistics; the same for every piece."""

    sums: dict[str, NDArray[np.float32]]
    """Per style layer dL / d sum(w f), shape (regions, channels)."""
    products: dict[str, NDArray[np.float32]]
    """Per style layer dL / d sum(w f f^T), symmetric, shape (regions, channels, channels)."""
    content_errors: dict[str, float]
    """Per content layer dL / d sum((F - P)^2)."""


@dataclass(frozen=True)
class PieceGradient:
    """Pass 2 of the exact method: one piece's share of the gradient, halo included."""

    index: int
    gradient: Coded
    """With respect to the crop's pixels, to be added into the whole picture's gradient."""


@dataclass(frozen=True)
class MissingState:
    """A worker was asked to use what it does not have, since it restarted or ran out of memory:
    send crop and content."""

    index: int
    has_core: bool = False
    """Where vectors lie with workers: it has those of the piece, and lacks only what it kept for speed."""
