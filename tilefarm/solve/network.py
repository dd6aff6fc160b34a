"""The frozen convolutional network whose features the objective compares."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tilefarm.errors import JobError
from tilefarm.solve.contract import Preprocessing, Weights
from tilefarm.solve.pooling import max_pool
from tilefarm.spec.networks import Convolution, Pooling, deepest_layer, layer_names, stages_to

_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
"""Mean of the training pictures in 0..255, blue first (Simonyan and Zisserman's own Caffe models)."""
_IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION_RGB = (0.229, 0.224, 0.225)
CHANNELS = 3
_FLOAT16_UNIT = 64.0
"""With the original weights photographs were seen to reach 17,000 (relu4_1), dots of two pure colours 58,000
(relu3_4), and float16 ends at 65,504. In this unit there is room for 70 times the dots, and rounding stays
relative to a feature's size down to 0.004."""


@dataclass(frozen=True)
class _Layer:
    """One convolution's parameters on the device."""

    output: str
    weight: Tensor
    bias: Tensor


class FeatureNetwork:
    """VGG-16 or VGG-19 up to the deepest layer asked for, with frozen weights.

    Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image
    recognition". The weights are held channels-last in `dtype` and take no gradients.

    A rectified network is positively homogeneous: with its input and its biases divided by a number all its
    features are. In float16 they are divided by `unit`, a power of two, so that none leaves the range.
    """

    def __init__(
        self,
        network: str,
        weights: Weights,
        layers: Collection[str],
        *,
        pooling: Literal["max", "average"] = "max",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        """Builds only the stages that `layers` need. Raises ValueError for an unknown layer name."""
        self.dtype = dtype
        self.device = torch.device(device)
        self.unit = _FLOAT16_UNIT if dtype == torch.float16 else 1.0
        """What 1 in a feature stands for."""
        self._network = network
        self._preprocessing = weights.preprocessing
        self._pooling = pooling
        self._check_names(layers, set(layer_names(network)))
        stages = stages_to(network, deepest_layer(network, set(layers))) if layers else ()
        self._stages = tuple(
            self._layer(stage, weights) if isinstance(stage, Convolution) else stage for stage in stages
        )
        self._pooled = {
            stage.output
            for stage, following in pairwise(self._stages)
            if isinstance(stage, _Layer) and isinstance(following, Pooling)
        }
        self._built = {stage.output for stage in self._stages if isinstance(stage, _Layer)}

    def features(self, picture: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """The rectified outputs of `layers` for a batch of pictures, in units of `unit`.

        `picture` is (B, 3, H, W), RGB, 0..1, float32 (or float64 for a float64 network). Each result is
        (B, channels, H // s, W // s) in the network's dtype, s being the layer's stride. Only the
        stages up to the deepest of `layers` are computed. Raises ValueError for a layer that was not
        built and JobError for a picture in which a pooling would leave nothing.
        """
        self._check_names(layers, self._built)
        missing = set(layers)
        found: dict[str, Tensor] = {}
        x = preprocess(picture, self._preprocessing) / self.unit
        x = in_parts(x, self.dtype).contiguous(memory_format=torch.channels_last)
        for stage in self._stages:
            if not missing:
                break
            if isinstance(stage, Pooling):
                self._check_poolable(x, picture)
                # Rectified already or not: the largest of rectified values is the largest, rectified.
                x = max_pool(x).relu_() if self._pooling == "max" else F.avg_pool2d(x, 2)
                continue
            x = F.conv2d(x, stage.weight, stage.bias, padding=1)
            if self._pooling == "max" and stage.output in self._pooled - missing:
                continue  # the pooling rectifies a quarter of the values, and these need not be kept
            # In place is safe: a convolution's output is new, and its backward pass does not need it.
            x = x.relu_()
            if stage.output in missing:
                found[stage.output] = x
                missing.remove(stage.output)
        return found

    def _layer(self, convolution: Convolution, weights: Weights) -> _Layer:
        weight = torch.from_numpy(weights.arrays[f"{convolution.name}.weight"])
        if convolution.channels_in == CHANNELS:
            weight = weight.repeat(1, parts_of(self.dtype), 1, 1)
        bias = torch.from_numpy(weights.arrays[f"{convolution.name}.bias"])
        return _Layer(
            convolution.output,
            weight.to(self.device, self.dtype, memory_format=torch.channels_last, copy=True),
            (bias / self.unit).to(self.device, self.dtype),
        )

    def _check_names(self, layers: Collection[str], known: set[str]) -> None:
        unknown = sorted(set(layers) - known)
        if unknown:
            raise ValueError(
                f"this {self._network} has no layer {', '.join(unknown)}; it has {sorted(known)}"
            )

    @staticmethod
    def _check_poolable(x: Tensor, picture: Tensor) -> None:
        if min(x.shape[2:]) < 2:
            height, width = picture.shape[2:]
            raise JobError(
                f"a picture must be at least 16x16 pixels for the deepest layers, got {width}x{height}: "
                "make the output larger or use shallower layers"
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
