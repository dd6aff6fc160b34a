"""The frozen convolutional network whose features the objective compares."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from tilefarm.errors import JobError
from tilefarm.plan.halo import receptive_field
from tilefarm.solve.contract import Preprocessing, Weights
from tilefarm.solve.stages import Convolved, Pooled, build, with_edge
from tilefarm.spec.networks import (
    Convolution,
    PaddingName,
    PoolingName,
    deepest_layer,
    layer_names,
    stages_to,
)

_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
"""Mean of the training pictures in 0..255, blue first (Simonyan and Zisserman's own Caffe models)."""
_IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION_RGB = (0.229, 0.224, 0.225)
CHANNELS = 3
_FLOAT16_UNIT = 64.0
"""With the original weights photographs were seen to reach 17,000 (relu4_1), dots of two pure colours 58,000
(relu3_4), and float16 ends at 65,504. In this unit there is room for 70 times the dots, and rounding stays
relative to a feature's size down to 0.004."""


class FeatureNetwork:
    """VGG-16, VGG-19 or SqueezeNet 1.1 up to the deepest layer asked for, with frozen weights.

    Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image
    recognition"; Iandola et al. 2016, "SqueezeNet". The weights are held channels-last in `dtype` and take
    no gradients.

    A rectified network is positively homogeneous: with its input and its biases divided by a number all its
    features are. In float16 they are divided by `unit`, a power of two, so that none leaves the range.
    """

    def __init__(
        self,
        network: str,
        weights: Weights,
        layers: Collection[str],
        *,
        pooling: PoolingName = "max",
        padding: PaddingName = "zeros",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        """Builds only the stages that `layers` need; `padding` is the first convolution's.

        Raises ValueError for an unknown layer name, and for a `padding` other than zeros where the first
        convolution has none.
        """
        self.dtype = dtype
        self.device = torch.device(device)
        self.unit = _FLOAT16_UNIT if dtype == torch.float16 else 1.0
        """What 1 in a feature stands for."""
        self._network = network
        self._preprocessing = weights.preprocessing
        self._pooling = pooling
        self._check_names(layers, set(layer_names(network)))
        stages = stages_to(network, deepest_layer(network, set(layers))) if layers else ()
        self._stages = [
            build(stage, lambda part: self._parameters(part, weights), pooling) for stage in stages
        ]
        self._edge: tuple[int, PaddingName] | None = None
        if padding != "zeros" and layers:
            self._see_beyond_the_edge(padding)
        self._pooled = {
            stage.output
            for stage, following in pairwise(self._stages)
            if not isinstance(stage, Pooled) and isinstance(following, Pooled)
        }
        self._built = {stage.output for stage in self._stages if not isinstance(stage, Pooled)}

    def features(self, picture: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """The rectified outputs of `layers` for a batch of pictures, in units of `unit`.

        `picture` is (B, 3, H, W), RGB, 0..1, float32 (or float64 for a float64 network). Each result is
        (B, channels, h, w) in the network's dtype, h and w being the `positions` of the layer's
        `ReceptiveField`. Only the stages up to the deepest of `layers` are computed. Raises ValueError for a
        layer that was not built and JobError for a picture that is too small for one.
        """
        self._check_names(layers, self._built)
        self._check_large_enough(layers, picture)
        missing = set(layers)
        found: dict[str, Tensor] = {}
        x = preprocess(picture, self._preprocessing) / self.unit
        if self._edge is not None and missing:
            x = with_edge(x, *self._edge)
        x = in_parts(x, self.dtype).contiguous(memory_format=torch.channels_last)
        for stage in self._stages:
            if not missing:
                break
            x = stage(x)
            if isinstance(stage, Pooled):
                continue
            if self._pooling == "max" and stage.output in self._pooled - missing:
                continue  # the pooling rectifies a quarter of the values, and these need not be kept
            # In place is safe: a stage's output is new, and its backward pass does not need it.
            x = x.relu_()
            if stage.output in missing:
                found[stage.output] = x
                missing.remove(stage.output)
        return found

    def _parameters(self, convolution: Convolution, weights: Weights) -> tuple[Tensor, Tensor]:
        weight = torch.from_numpy(weights.arrays[f"{convolution.name}.weight"])
        if convolution.channels_in == CHANNELS:
            weight = weight.repeat(1, parts_of(self.dtype), 1, 1)
        bias = torch.from_numpy(weights.arrays[f"{convolution.name}.bias"])
        return (
            weight.to(self.device, self.dtype, memory_format=torch.channels_last, copy=True),
            (bias / self.unit).to(self.device, self.dtype),
        )

    def _see_beyond_the_edge(self, padding: PaddingName) -> None:
        """The picture gets the first convolution's padding, and the convolution none."""
        first = self._stages[0]
        if not isinstance(first, Convolved) or first.padding == 0:
            raise ValueError(f"the first convolution of {self._network} has no padding, got {padding}")
        self._edge = (first.padding, padding)
        self._stages[0] = replace(first, padding=0)

    def _check_names(self, layers: Collection[str], known: set[str]) -> None:
        unknown = sorted(set(layers) - known)
        if unknown:
            raise ValueError(
                f"this {self._network} has no layer {', '.join(unknown)}; it has {sorted(known)}"
            )

    def _check_large_enough(self, layers: Collection[str], picture: Tensor) -> None:
        height, width = picture.shape[2:]
        for name in layers:
            smallest = receptive_field(self._network, name).smallest
            if min(height, width) < smallest:
                raise JobError(
                    f"a picture must be at least {smallest}x{smallest} pixels for {name}, got "
                    f"{width}x{height}: make the output larger or use shallower layers"
                )


def preprocess(picture: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The network's input for `picture` (B, 3, H, W), RGB, 0..1, in the picture's own dtype.

    caffe: blue first, 0..255, minus the training pictures' mean. torchvision: minus ImageNet's mean,
    divided by its deviation, RGB.
    """
    if preprocessing == "caffe":
        return picture.flip(1) * 255.0 - _per_channel(_CAFFE_MEAN_BGR, picture)
    mean = _per_channel(_IMAGENET_MEAN_RGB, picture)
    return (picture - mean) / _per_channel(_IMAGENET_DEVIATION_RGB, picture)


def parts_of(dtype: torch.dtype) -> int:
    """In how many parts a picture enters a network of this dtype: two where one number has two bytes."""
    return 2 if dtype.itemsize == 2 else 1


def in_parts(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` (B, C, H, W) as `dtype`; where that has two bytes, C more channels hold what rounding took.

    The convolution that follows has its weights twice and so adds the parts up again. In bfloat16 alone,
    changes of a pixel by less than half a grey level of 255 would be lost on the network: a solve in float32
    of pictures that were rounded so ended 5.6% higher, solves in bfloat16 up to 2%. The gradient goes
    through the first part only: it is the whole picture's.
    """
    rounded = x.to(dtype)
    if parts_of(dtype) == 1:
        return rounded
    rest = (x.detach() - rounded.detach()).to(dtype)
    return torch.cat([rounded, rest], dim=1)


def _per_channel(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)
