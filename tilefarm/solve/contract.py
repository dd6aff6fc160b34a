"""What goes into a solver and what comes out: plain data, no torch, cheap to ship between processes.

Pictures are float32 arrays of shape (height, width, 3), RGB, with 0..1 for black to white; values
outside that range are allowed on the way and clipped only in the output file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tilefarm.spec.networks import PaddingName, PoolingName
from tilefarm.spec.objective import Units
from tilefarm.spec.optimizer import OptimizerName

Picture = NDArray[np.float32]
Regions = NDArray[np.float32]
"""Shares of regions in every pixel, shape (height, width, regions), 0..1."""
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


NEAR_CONTENT = 1e-3
"""Of the content's features: nearer to them than this, `normalize_gradients` lets the content pull less."""


@dataclass(frozen=True)
class Scales:
    """Constants of the objective: overall * (style + content * C + tv * TV), each term with its weight."""

    overall: float
    content: float
    tv: float


def is_low(precision: str) -> bool:
    """Whether a network in this precision keeps its features in two bytes; not so for `auto`."""
    return precision in ("bfloat16", "float16")


@dataclass(frozen=True)
class AdamSettings:
    """The constants of Adam."""

    step_size: float
    """In pixel values, 0..1 for black to white."""
    betas: tuple[float, float]
    """What the means of the gradient and of its square keep in a step, each in [0, 1)."""
    averaging: float
    """What the mean of the iterates keeps in a step, in [0, 1); 0 takes the last iterate."""


@dataclass(frozen=True)
class SolverSettings:
    """Everything about a run that a worker must know once: the network and the objective's weights."""

    network: str
    pooling: PoolingName
    precision: Precision
    content_layers: LayerWeights
    style_layers: LayerWeights
    content_weight: float
    style_weight: float
    tv_weight: float
    history: int
    """Of L-BFGS."""
    optimizer: OptimizerName = "lbfgs"
    adam: AdamSettings | None = None
    """Where the optimizer is Adam."""
    statistics: tuple[tuple[str, float], ...] = (("gram", 1.0),)
    """What is compared with the style at each layer: names of `solve.statistics.STATISTICS` and weights."""
    activation_shift: float = 0.0
    """Added to features before Gram matrices are formed."""
    regions: int = 1
    """How many there are, with styles of their own."""
    normalize_gradients: bool = False
    """Whether each layer's derivative gets the same length, times the layer's and the term's weight."""
    grey: bool = False
    """Whether the brightness alone is painted: pictures have three equal channels, and the gradient is
    projected on such pictures."""
    padding: PaddingName = "zeros"
    """How the first convolution sees beyond the picture's edge."""
    units: Units = "relative"
    """What the errors are divided by."""
    tv_exponent: float = 2.0
    """Of the differences of neighbours in the total variation, 1 to 3."""

    @property
    def scales(self) -> Scales:
        """The constants of `units`: published objectives have none."""
        if self.units == "relative":
            return Scales(OVERALL_SCALE, CONTENT_SCALE, TV_SCALE)
        return Scales(1.0, 1.0, 1.0)

    def layer_total(self, weights: Iterable[float]) -> float:
        """What the layers' weights are divided by: their sum, or 1 where they are factors as they are."""
        return sum(weights) if self.units == "relative" else 1.0


@dataclass(frozen=True)
class Weights:
    """A network's parameters under the names conv1_1.weight, conv1_1.bias ..., float32."""

    arrays: dict[str, NDArray[np.float32]]
    preprocessing: Preprocessing
    sha256: str
    """Of names, shapes and values in network order: the same for the same numbers in any file format."""


@dataclass(frozen=True)
class RegionMoments:
    """A layer's mean features and mean products of features, in each region of a picture."""

    means: NDArray[np.float32]
    """E[f], shape (regions, channels)."""
    products: NDArray[np.float32]
    """E[f f^T], shape (regions, channels, channels)."""


@dataclass(frozen=True)
class LevelTargets:
    """What every tile of one level is compared with."""

    key: str
    """Distinguishes the targets of different runs and levels; workers keep what they made of the last."""
    styles: dict[str, RegionMoments]
    """Per style layer the style's moments, one style for each region."""
    content_mean_squares: dict[str, float]
    """Per content layer mean(P^2) over the whole level's content: the normaliser of the content term."""
    region_weights: tuple[float, ...] = (1.0,)
    """How much the style counts in each region; a layer's style error is the sum over regions of weight times
    share of the picture times error."""
    pictures: dict[str, RegionMoments] = field(default_factory=dict)
    """The whole picture's own moments at the start of the round. Where they are given, a tile does not aim at
    the style's statistic A but at A + G_t - G: it keeps its own deviation G_t - G from the whole picture and
    makes only the move that the whole picture must make."""


@dataclass(frozen=True)
class Losses:
    """The terms of the objective, unweighted, and their weighted sum."""

    total: float
    content: float
    style: float
    tv: float

    def weighted(self, settings: SolverSettings) -> Losses:
        """The same terms as they stand in the total."""
        scales = settings.scales
        return Losses(
            total=self.total,
            content=scales.overall * settings.content_weight * scales.content * self.content,
            style=scales.overall * settings.style_weight * self.style,
            tv=scales.overall * settings.tv_weight * scales.tv * self.tv,
        )
