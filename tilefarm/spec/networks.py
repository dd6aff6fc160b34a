"""The networks that a job can name, as plain tables: no torch here.

A VGG is five blocks of 3x3 convolutions, each followed by a rectifier, with a 2x2 pooling after
each block (Simonyan and Zisserman 2014, table 1, columns D and E). Layers carry the names that
style transfer has always used: conv3_1, relu3_1, pool3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

NetworkName = Literal["vgg16", "vgg19"]

_CONVOLUTIONS_PER_BLOCK: dict[str, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_CHANNELS_PER_BLOCK = (64, 128, 256, 512, 512)

NETWORK_NAMES: tuple[str, ...] = tuple(_CONVOLUTIONS_PER_BLOCK)


@dataclass(frozen=True)
class Convolution:
    """A 3x3 convolution with zero padding 1 and its rectifier."""

    name: str
    """For example conv3_1; its rectified output is called relu3_1."""
    channels_in: int
    channels_out: int
    torchvision_index: int
    """The position in torchvision's `features` list: its weights are `features.N.weight` there."""

    @property
    def output(self) -> str:
        """The name of the rectified output, for example relu3_1."""
        return self.name.replace("conv", "relu")


@dataclass(frozen=True)
class Pooling:
    """A 2x2 pooling with stride 2 that drops an odd last row or column."""

    name: str
    torchvision_index: int


Stage = Convolution | Pooling


@cache
def stages(network: str) -> tuple[Stage, ...]:
    """All stages of a network in order. Raises KeyError for an unknown network."""
    result: list[Stage] = []
    index = 0
    channels_in = 3
    for block, count in enumerate(_CONVOLUTIONS_PER_BLOCK[network], start=1):
        channels_out = _CHANNELS_PER_BLOCK[block - 1]
        for number in range(1, count + 1):
            result.append(Convolution(f"conv{block}_{number}", channels_in, channels_out, index))
            channels_in = channels_out
            index += 2  # torchvision counts the rectifier as a layer of its own
        result.append(Pooling(f"pool{block}", index))
        index += 1
    return tuple(result)


@cache
def layer_names(network: str) -> tuple[str, ...]:
    """The layers whose features an objective can use, shallow to deep: relu1_1 ... relu5_4."""
    return tuple(stage.output for stage in stages(network) if isinstance(stage, Convolution))


@cache
def channels_of(network: str) -> dict[str, int]:
    """The channels of every layer that an objective can use."""
    return {stage.output: stage.channels_out for stage in stages(network) if isinstance(stage, Convolution)}


def stages_to(network: str, deepest: str) -> tuple[Stage, ...]:
    """The stages from the picture up to and including the layer `deepest` (a name of `layer_names`)."""
    result = []
    for stage in stages(network):
        result.append(stage)
        if isinstance(stage, Convolution) and stage.output == deepest:
            return tuple(result)
    raise KeyError(deepest)


def deepest_layer(network: str, layers: set[str] | frozenset[str]) -> str:
    """The one of `layers` that comes last in the network."""
    return max(layers, key=layer_names(network).index)
