"""The networks that a job can name, as plain tables: no torch here.

A VGG is five blocks of 3x3 convolutions, each followed by a rectifier, with a 2x2 pooling after
each block (Simonyan and Zisserman 2014, table 1, columns D and E). Layers carry the names that
style transfer has always used: conv3_1, relu3_1, pool3.

SqueezeNet 1.1 is one convolution and eight fire modules with three 3x3 poolings of stride 2 in between
(Iandola et al. 2016, and the authors' release v1.1). Its layers are called relu1, fire2 ... fire9.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

NetworkName = Literal["vgg16", "vgg19", "squeezenet"]
PoolingName = Literal["max", "average", "l2"]
PaddingName = Literal["zeros", "replicate", "reflect"]

NETWORK_NAMES: tuple[NetworkName, ...] = ("vgg16", "vgg19", "squeezenet")
TORCHVISION_MODELS: dict[str, str] = {"vgg16": "vgg16", "vgg19": "vgg19", "squeezenet": "squeezenet1_1"}
"""What torchvision calls them."""

_CONVOLUTIONS_PER_BLOCK: dict[str, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_CHANNELS_PER_BLOCK = (64, 128, 256, 512, 512)

_SQUEEZENET_FIRES: tuple[tuple[int, int, int], ...] = ((3, 16, 64), (4, 16, 64), (6, 32, 128), (7, 32, 128))
_SQUEEZENET_FIRES += ((9, 48, 192), (10, 48, 192), (11, 64, 256), (12, 64, 256))
"""Of fire2 ... fire9: the index in torchvision's list, squeezed channels, channels of each branch."""
_SQUEEZENET_POOLED = {3: "pool3", 5: "pool5"}
"""Fire modules that a pooling follows; another one follows relu1."""


@dataclass(frozen=True)
class Window:
    """What one position of a stage's output sees of its input, along each axis."""

    kernel: int
    stride: int
    padding: int
    ceil: bool
    """Whether a last window that only begins inside the input counts."""


@dataclass(frozen=True)
class Convolution:
    """A convolution with zero padding and its rectifier."""

    name: str
    """For example conv3_1; its rectified output is called relu3_1."""
    channels_in: int
    channels_out: int
    torchvision_name: str
    """What torchvision's state_dict calls it: its weights are there as `NAME.weight`."""
    kernel: int = 3
    stride: int = 1
    padding: int = 1

    @property
    def output(self) -> str:
        """The name of the rectified output, for example relu3_1."""
        return self.name.replace("conv", "relu")

    @property
    def window(self) -> Window:
        """What a position sees."""
        return Window(self.kernel, self.stride, self.padding, ceil=False)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the weights."""
        return (self.channels_out, self.channels_in, self.kernel, self.kernel)


@dataclass(frozen=True)
class Fire:
    """A rectified 1x1 convolution to few channels, then a 1x1 and a 3x3 one side by side, rectified."""

    name: str
    squeeze: Convolution
    expand1x1: Convolution
    expand3x3: Convolution

    @property
    def output(self) -> str:
        """The name of the rectified output: the module's own."""
        return self.name

    @property
    def channels_out(self) -> int:
        """Of both branches together."""
        return self.expand1x1.channels_out + self.expand3x3.channels_out

    @property
    def window(self) -> Window:
        """What a position sees: that of the branch that sees more."""
        return self.expand3x3.window


@dataclass(frozen=True)
class Pooling:
    """A pooling with stride 2, over 2x2 cells or over 3x3 windows that overlap."""

    name: str
    kernel: int = 2
    stride: int = 2
    ceil: bool = False
    """False: an odd last row or column is dropped. True: an incomplete last window counts too."""

    @property
    def window(self) -> Window:
        """What a position sees."""
        return Window(self.kernel, self.stride, 0, self.ceil)


Layer = Convolution | Fire
"""What has features that an objective can use."""
Stage = Layer | Pooling


@cache
def stages(network: str) -> tuple[Stage, ...]:
    """All stages of a network in order. Raises KeyError for an unknown network."""
    return tuple(_squeezenet() if network == "squeezenet" else _vgg(_CONVOLUTIONS_PER_BLOCK[network]))


def _vgg(convolutions_per_block: tuple[int, ...]) -> Iterator[Stage]:
    index = 0
    channels_in = 3
    for block, count in enumerate(convolutions_per_block, start=1):
        channels_out = _CHANNELS_PER_BLOCK[block - 1]
        for number in range(1, count + 1):
            yield Convolution(f"conv{block}_{number}", channels_in, channels_out, f"features.{index}")
            channels_in = channels_out
            index += 2  # torchvision counts the rectifier as a layer of its own
        yield Pooling(f"pool{block}")
        index += 1


def _squeezenet() -> Iterator[Stage]:
    channels = 64
    yield Convolution("conv1", 3, channels, "features.0", stride=2, padding=0)
    yield Pooling("pool1", kernel=3, ceil=True)
    for number, (index, squeezed, expanded) in enumerate(_SQUEEZENET_FIRES, start=2):
        ours, theirs = f"fire{number}", f"features.{index}"
        yield Fire(
            ours,
            Convolution(f"{ours}.squeeze", channels, squeezed, f"{theirs}.squeeze", kernel=1, padding=0),
            Convolution(f"{ours}.expand1x1", squeezed, expanded, f"{theirs}.expand1x1", kernel=1, padding=0),
            Convolution(f"{ours}.expand3x3", squeezed, expanded, f"{theirs}.expand3x3"),
        )
        channels = 2 * expanded
        if number in _SQUEEZENET_POOLED:
            yield Pooling(_SQUEEZENET_POOLED[number], kernel=3, ceil=True)


def convolutions_of(stage: Stage) -> tuple[Convolution, ...]:
    """The convolutions of one stage in order; none for a pooling."""
    if isinstance(stage, Fire):
        return (stage.squeeze, stage.expand1x1, stage.expand3x3)
    return (stage,) if isinstance(stage, Convolution) else ()


@cache
def convolutions(network: str) -> tuple[Convolution, ...]:
    """Everything in a network that has weights, in order."""
    return tuple(part for stage in stages(network) for part in convolutions_of(stage))


@cache
def layer_names(network: str) -> tuple[str, ...]:
    """The layers whose features an objective can use, shallow to deep: relu1_1 ... relu5_4."""
    return tuple(stage.output for stage in stages(network) if not isinstance(stage, Pooling))


@cache
def channels_of(network: str) -> dict[str, int]:
    """The channels of every layer that an objective can use."""
    return {stage.output: stage.channels_out for stage in stages(network) if not isinstance(stage, Pooling)}


def stages_to(network: str, deepest: str) -> tuple[Stage, ...]:
    """The stages from the picture up to and including the layer `deepest` (a name of `layer_names`)."""
    result = []
    for stage in stages(network):
        result.append(stage)
        if not isinstance(stage, Pooling) and stage.output == deepest:
            return tuple(result)
    raise KeyError(deepest)


def deepest_layer(network: str, layers: set[str] | frozenset[str]) -> str:
    """The one of `layers` that comes last in the network."""
    return max(layers, key=layer_names(network).index)
