"""Pieces of a picture for work that must not depend on how the picture was cut.

A piece is a core, whose features count, and a crop: the core grown by a halo so wide that features
at core positions are the same as in the whole picture. The crop is clipped at the picture's border,
where the network's own padding is the same as for the whole picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tilefarm.geometry import Box, Size
from tilefarm.spec.networks import Convolution, stages_to


@dataclass(frozen=True)
class Piece:
    """A core and its crop, in the picture's pixels."""

    core: Box
    crop: Box

    @property
    def core_in_crop(self) -> Box:
        """The core in the crop's own pixels."""
        return Box(
            self.core.left - self.crop.left,
            self.core.top - self.crop.top,
            self.core.right - self.crop.left,
            self.core.bottom - self.crop.top,
        )


@dataclass(frozen=True)
class ReceptiveField:
    """What one position of a layer sees of the picture."""

    stride: int
    """Pixels between neighbouring positions."""
    radius: int
    """Pixels seen beyond the position's own stride x stride cell, on the side where it is most."""

    @property
    def halo(self) -> int:
        """The radius rounded up to a multiple of the stride, so that crops stay aligned."""
        return -(-self.radius // self.stride) * self.stride


def receptive_field(network: str, deepest: str) -> ReceptiveField:
    """The field of the layer `deepest` (for example relu5_1) of a network of `spec.networks`.

    A 3x3 convolution at stride s sees s pixels more on either side; a 2x2 pooling sees exactly the
    cells that become its own and doubles the stride.
    """
    stride = 1
    radius = 0
    for stage in stages_to(network, deepest):
        if isinstance(stage, Convolution):
            radius += stride
        else:
            stride *= 2
    return ReceptiveField(stride, radius)


def partition(picture: Size, core: int, field: ReceptiveField) -> Iterator[Piece]:
    """Cores of nearly equal size that cover the picture once, row by row, with their crops.

    They are as few as cores of `core` x `core` pixels would be. Their edges are multiples of the layer's
    stride; the last ones also hold what is left of the picture, less than a stride.

    Raises ValueError where `core` is not a multiple of the layer's stride: pieces would not meet at
    positions of the layer.
    """
    if core < 1 or core % field.stride:
        raise ValueError(f"a core must be a multiple of the stride {field.stride}, got {core}")
    for top, bottom in _spans(picture.height, core, field.stride):
        for left, right in _spans(picture.width, core, field.stride):
            crop = Box(
                max(0, left - field.halo),
                max(0, top - field.halo),
                min(picture.width, right + field.halo),
                min(picture.height, bottom + field.halo),
            )
            yield Piece(Box(left, top, right, bottom), crop)


def _spans(length: int, core: int, stride: int) -> Iterator[tuple[int, int]]:
    """Starts and stops along an axis: its whole strides shared evenly, and the rest with the last."""
    strides = max(1, length // stride)
    count = -(-strides * stride // core)
    starts = [stride * (number * strides // count) for number in range(count)]
    yield from zip(starts, [*starts[1:], length], strict=True)
