"""What the machine can do at most, measured: one large convolution."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tilefarm.solve.contract import Precision

_CHANNELS, _SIDE, _REPEATS = 128, 256, 4
FLOP = _REPEATS * 2 * 9 * _CHANNELS**2 * _SIDE**2
"""Floating-point operations of one call, two per multiply-add."""


def big_convolution(precision: Precision, threads: int) -> Callable[[], None]:
    """A 3x3 convolution of 128 to 128 channels at 256x256, channels-last like the network, 4 times a call."""
    x = random_values(precision, 1, _CHANNELS, _SIDE, _SIDE)
    weight = random_values(precision, _CHANNELS, _CHANNELS, 3, 3)

    def convolve() -> None:
        torch.set_num_threads(threads)
        with torch.no_grad():
            for _ in range(_REPEATS):
                F.conv2d(x, weight, padding=1)

    return convolve


def random_values(precision: Precision, *shape: int) -> Tensor:
    """Normally distributed values of a shape of four dimensions, channels-last."""
    dtype: torch.dtype = getattr(torch, precision)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(dtype, memory_format=torch.channels_last)
