"""What goes into a solver and what comes out: plain data, no torch, cheap to ship between processes.

Pictures are float32 arrays of shape (height, width, 3), RGB, with 0..1 for black to white; values
outside that range are allowed on the way and clipped only in the output file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tilefarm.geometry import Box

Picture = NDArray[np.float32]
Precision = Literal["float32", "bfloat16", "float16"]
Preprocessing = Literal["caffe", "torchvision"]
LayerWeights = tuple[tuple[str, float], ...]


CONTENT_SCALE = 0.05
"""With the style term at 1, this content term keeps the subject and lets the brush strokes in."""
TV_SCALE = 0.05
"""The smoothness that goes with it when the job asks for tv_weight 1.0."""
OVERALL_SCALE = 1000.0
"""Makes the gradient's 1-norm larger than 1, so that the first step of L-BFGS, which is 1/|g|_1 long, is
small, and keeps changes of the loss well above the optimizer's absolute tolerance (1e-9)."""


def is_low(precision: str) -> bool:
    """Whether a network in this precision keeps its features in two bytes; not so for `auto`."""
    return precision in ("bfloat16", "float16")


@dataclass(frozen=True)
class SolverSettings:
    """Everything about a run that a worker must know once: the network and the objective's weights."""

    network: str
    pooling: Literal["max", "average"]
    precision: Precision
    content_layers: LayerWeights
    style_layers: LayerWeights
    content_weight: float
    style_weight: float
    tv_weight: float
    history: int


@dataclass(frozen=True)
class Weights:
    """A network's parameters under the names conv1_1.weight, conv1_1.bias ..., float32."""

    arrays: dict[str, NDArray[np.float32]]
    preprocessing: Preprocessing
    sha256: str
    """Of names, shapes and values in network order: the same for the same numbers in any file format."""


@dataclass(frozen=True)
class LevelTargets:
    """What every tile of one level is compared with."""

    key: str
    """Distinguishes the targets of different runs and levels; workers keep what they made of the last."""
    grams: dict[str, NDArray[np.float32]]
    """Per style layer the target Gram matrix, shape (channels, channels), divided by positions."""
    content_mean_squares: dict[str, float]
    """Per content layer mean(P^2) over the whole level's content: the normaliser of the content term."""
    picture_grams: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """The whole picture's Gram matrices G at the start of the round. Where they are given, tile t aims
    at A + G_t - G and not at A: it keeps its own deviation G_t - G from the whole picture and makes only
    the move that the whole picture must make."""


@dataclass(frozen=True)
class Losses:
    """The terms of the objective, unweighted, and their weighted sum."""

    total: float
    content: float
    style: float
    tv: float

    def weighted(self, settings: SolverSettings) -> Losses:
        """The same terms as they stand in the total."""
        return Losses(
            total=self.total,
            content=OVERALL_SCALE * settings.content_weight * CONTENT_SCALE * self.content,
            style=OVERALL_SCALE * settings.style_weight * self.style,
            tv=OVERALL_SCALE * settings.tv_weight * TV_SCALE * self.tv,
        )


@dataclass(frozen=True)
class TileTask:
    """One tile to optimise."""

    index: int
    image: Picture
    """Where the optimisation starts."""
    content: Picture
    """The content at the same place, the same shape."""
    iterations: int


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


@dataclass(frozen=True)
class Measurement:
    """Sums over the positions of a piece's core; sums of pieces add up to the whole picture's."""

    index: int
    positions: dict[str, int]
    """Per layer the number of positions counted."""
    products: dict[str, NDArray[np.float64]]
    """Per style layer sum(f f^T), shape (channels, channels); empty for kind 'content'."""
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
    crop: Picture | None
    """The piece with its halo; None where the worker has kept the graph of this piece."""
    content: Picture | None
    """The content at the same place; None where the worker has kept its features."""
    evaluation: int = 0
    """Counts the first passes over the level: graphs that a worker keeps belong to one of them."""


@dataclass(frozen=True)
class PieceSums:
    """Pass 1 of the exact method: one piece's share of the whole picture's statistics."""

    index: int
    positions: dict[str, int]
    """Per layer, style or content, the number of positions of the core."""
    products: dict[str, NDArray[np.float64]]
    """Per style layer sum(f f^T), shape (channels, channels)."""
    content_errors: dict[str, float]
    """Per content layer sum((F - P)^2) over positions and channels."""
    holds_graph: bool
    """Whether the worker kept this piece's graph for pass 2."""
    holds_content: bool
    """Whether the worker kept the content's features of this piece for the level."""


@dataclass(frozen=True)
class Derivatives:
    """How the whole picture's loss changes with its statistics; the same for every piece."""

    products: dict[str, NDArray[np.float32]]
    """Per style layer dL / d sum(f f^T), symmetric, shape (channels, channels)."""
    content_errors: dict[str, float]
    """Per content layer dL / d sum((F - P)^2)."""


@dataclass(frozen=True)
class PieceGradient:
    """Pass 2 of the exact method: one piece's share of the gradient, halo included."""

    index: int
    gradient: Picture
    """With respect to the crop's pixels, to be added into the whole picture's gradient."""


@dataclass(frozen=True)
class MissingState:
    """A worker was asked to use what it does not have, since it restarted or ran out of memory:
    send crop and content."""

    index: int
