"""The network's convolutions alone: the most that any code which leaves them to torch can reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from scripts.benchmarks.peak import random_values
from scripts.benchmarks.workload import default_stages
from tilefarm.geometry import Size
from tilefarm.solve.backend import DTYPES
from tilefarm.solve.contract import Precision
from tilefarm.solve.network import CHANNELS, parts_of
from tilefarm.spec.networks import Convolution


@dataclass(frozen=True)
class BareConvolution:
    """One convolution with everything that it needs, channels-last."""

    picture: Tensor
    """What goes in, (1, channels in, height, width); its gradient is what the backward pass yields."""
    weight: Tensor
    bias: Tensor
    back: Tensor
    """The gradient of what comes out, (1, channels out, height, width)."""


def bare_convolutions(precision: Precision, size: Size) -> list[BareConvolution]:
    """The default network's up to its deepest layer, each at its own resolution for a picture of `size`."""
    layers = []
    # Tensors of one shape are shared: each is used as if it had just been computed, and memory is saved.
    ready = cache(lambda channels, height, width: random_values(precision, 1, channels, height, width))
    height, width = size.height, size.width
    for stage in default_stages():
        if not isinstance(stage, Convolution):
            height, width = height // 2, width // 2
            continue
        channels = stage.channels_in
        if channels == CHANNELS:
            channels *= parts_of(DTYPES[precision])
        weight = random_values(precision, stage.channels_out, channels, 3, 3)
        picture = ready(channels, height, width).detach().requires_grad_()
        back = ready(stage.channels_out, height, width)
        layers.append(BareConvolution(picture, weight, weight[:, 0, 0, 0].contiguous(), back))
    return layers


def bare_passes(precision: Precision, size: Size, threads: int) -> Callable[[], None]:
    """A call runs every convolution forward and back to its input: no pooling, rectifier or statistics.

    By autograd and with frozen weights, so that torch does for each what it does in tilefarm's network.
    """
    layers = bare_convolutions(precision, size)

    def run() -> None:
        torch.set_num_threads(threads)
        for layer in layers:
            output = F.conv2d(layer.picture, layer.weight, layer.bias, padding=1)
            torch.autograd.grad(output, layer.picture, layer.back)

    return run
