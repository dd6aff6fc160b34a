"""The frozen convolutional network whose features the objective compares."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tilefarm.errors import JobError
from tilefarm.solve.contract import Preprocessing, Weights
from tilefarm.spec.networks import Convolution, Pooling, deepest_layer, layer_names, stages_to

_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
"""Mean of the training pictures in 0..255, blue first (Simonyan and Zisserman's own Caffe models)."""
_IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION_RGB = (0.229, 0.224, 0.225)


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
        self._network = network
        self._preprocessing = weights.preprocessing
        self._pool = F.max_pool2d if pooling == "max" else F.avg_pool2d
        self._check_names(layers, set(layer_names(network)))
        stages = stages_to(network, deepest_layer(network, set(layers))) if layers else ()
        self._stages = tuple(
            self._layer(stage, weights) if isinstance(stage, Convolution) else stage for stage in stages
        )
        self._built = {stage.output for stage in self._stages if isinstance(stage, _Layer)}

    def features(self, picture: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """The rectified outputs of `layers` for a batch of pictures.

        `picture` is (B, 3, H, W), RGB, 0..1, float32 (or float64 for a float64 network). Each result is
        (B, channels, H // s, W // s) in the network's dtype, s being the layer's stride. Only the
        stages up to the deepest of `layers` are computed. Raises ValueError for a layer that was not
        built and JobError for a picture in which a pooling would leave nothing.
        """
        self._check_names(layers, self._built)
        missing = set(layers)
        found: dict[str, Tensor] = {}
        x = preprocess(picture, self._preprocessing).to(self.dtype, memory_format=torch.channels_last)
        for stage in self._stages:
            if not missing:
                break
            if isinstance(stage, Pooling):
                self._check_poolable(x, picture)
                x = self._pool(x, 2)
                continue
            # In place is safe: a convolution's output is new, and its backward pass does not need it.
            x = F.conv2d(x, stage.weight, stage.bias, padding=1).relu_()
            if stage.output in missing:
                found[stage.output] = x
                missing.remove(stage.output)
        return found

    def _layer(self, convolution: Convolution, weights: Weights) -> _Layer:
        weight = torch.from_numpy(weights.arrays[f"{convolution.name}.weight"])
        bias = torch.from_numpy(weights.arrays[f"{convolution.name}.bias"])
        return _Layer(
            convolution.output,
            weight.to(self.device, self.dtype, memory_format=torch.channels_last, copy=True),
            bias.to(self.device, self.dtype, copy=True),
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


def _per_channel(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)
