"""The stages of a network on the device: what takes a layer's features to the next one's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tilefarm.solve.pooling import max_pool
from tilefarm.solve.windows import l2_windows, max_windows
from tilefarm.spec.networks import Convolution, Fire, PaddingName, Pooling, PoolingName

POOLING_FACTORS: dict[tuple[PoolingName, int], float] = {
    ("average", 2): 1.37,
    ("l2", 2): 0.64,
    ("average", 3): 1.47,
    ("l2", 3): 0.46,
}
"""By pooling and kernel: what a mean, or the root of a sum of squares, is multiplied by, so that what follows
is as active as after max pooling and the other settings keep their meaning.

Measured on six pictures (four photographs, two paintings) at 192 and at 448 pixels. 2x2: VGG-19's original
weights, mean activations of relu2_1, relu3_1, relu4_1 and relu5_1; 3x3: SqueezeNet 1.1's original weights,
of fire2, fire4, fire6 and fire9. The factor is the one with which the ratios to those after max pooling have
a geometric mean of 1; single layers then are off by 0.8 to 1.25. style-transfer-pytorch has 2 and 0.78, with
which the mean activations at relu5_1 are 3.3 and 1.8 times those after max pooling."""


@dataclass(frozen=True)
class Convolved:
    """A convolution whose output is not rectified yet."""

    output: str
    weight: Tensor
    bias: Tensor
    stride: int
    padding: int

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, channels, h, w)."""
        return F.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)


@dataclass(frozen=True)
class Fired:
    """A fire module whose output is not rectified yet: the branches' channels one after the other."""

    output: str
    squeeze: Convolved
    expand: tuple[Convolved, Convolved]

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, channels, H, W)."""
        squeezed = self.squeeze(x).relu_()
        return torch.cat([branch(squeezed) for branch in self.expand], dim=1)


@dataclass(frozen=True)
class Pooled:
    """One of the three poolings, rescaled by `POOLING_FACTORS`."""

    pooling: PoolingName
    kernel: int
    ceil: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Rectified features in, rectified features out; `max` takes them before they are rectified too."""
        if self.pooling == "max":
            cells = (self.kernel, self.ceil) == (2, False)
            return (max_pool(x) if cells else max_windows(x, self.kernel, self.ceil)).relu_()
        factor = POOLING_FACTORS[self.pooling, self.kernel]
        if self.pooling == "l2":
            return l2_windows(x, self.kernel, self.ceil, factor)
        return F.avg_pool2d(x, self.kernel, 2, ceil_mode=self.ceil).mul_(factor)


Built = Convolved | Fired | Pooled
Place = Callable[[Convolution], tuple[Tensor, Tensor]]
"""Gives a convolution's weights and bias on the device."""


def build(stage: Convolution | Fire | Pooling, place: Place, pooling: PoolingName) -> Built:
    """The stage of a table on the device."""
    if isinstance(stage, Pooling):
        return Pooled(pooling, stage.kernel, stage.ceil)
    if isinstance(stage, Fire):
        expand = (_convolved(stage.expand1x1, place), _convolved(stage.expand3x3, place))
        return Fired(stage.output, _convolved(stage.squeeze, place), expand)
    return _convolved(stage, place)


def _convolved(convolution: Convolution, place: Place) -> Convolved:
    return Convolved(
        convolution.output, *place(convolution), stride=convolution.stride, padding=convolution.padding
    )


def with_edge(x: Tensor, width: int, padding: PaddingName) -> Tensor:
    """`x` (B, C, H, W) with `width` more pixels on every side, by repeating its edge or by reflection there.

    Put together from slices and not by torch's own padding, whose gradients on CUDA are added in an order
    that changes from run to run.
    """
    for axis in (2, 3):
        length = x.shape[axis]
        near: list[Tensor] = []
        far: list[Tensor] = []
        for step in range(1, width + 1):
            source = step if padding == "reflect" else 0
            near.insert(0, x.narrow(axis, source, 1))
            far.append(x.narrow(axis, length - 1 - source, 1))
        x = torch.cat([*near, x, *far], dim=axis)
    return x
