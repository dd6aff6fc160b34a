"""Pieces of a picture for work that must not depend on how the picture was cut.

A piece is a core, whose features count, and a crop: the core grown by a halo so wide that features
at core positions are the same as in the whole picture. The crop is clipped at the picture's border,
where the network's own padding is the same as for the whole picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tilefarm.geometry import Box, Size
from tilefarm.spec.networks import stages_to


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
    """What the positions of a layer see of the picture, along each axis."""

    stride: int
    """Pixels between neighbouring positions: position p stands for the pixels from p * stride on."""
    before: int
    """Pixels seen to the left of (above) the position's own stride x stride cell."""
    after: int
    """Pixels seen to the right of (below) it."""
    unpadded: int = 0
    """A picture must be so many pixels longer than its cells for the last cell's position to exist: what
    convolutions without padding take away."""

    @property
    def radius(self) -> int:
        """Pixels seen beyond the cell, on the side where it is most."""
        return max(self.before, self.after)

    @property
    def halo_before(self) -> int:
        """`before` rounded up to a multiple of the stride, so that crops start at a position."""
        return -(-self.before // self.stride) * self.stride

    @property
    def halo_after(self) -> int:
        """`after` rounded up to a multiple of the stride."""
        return -(-self.after // self.stride) * self.stride

    @property
    def halo(self) -> int:
        """The wider of both halos."""
        return max(self.halo_before, self.halo_after)

    @property
    def smallest(self) -> int:
        """Pixels of the shortest picture in which the layer has a position."""
        return self.stride + self.unpadded

    def positions(self, length: int) -> int:
        """How many positions the layer has along `length` pixels."""
        return max(0, length - self.unpadded) // self.stride


@cache
def receptive_field(network: str, deepest: str) -> ReceptiveField:
    """The field of the layer `deepest` (for example relu5_1) of a network of `spec.networks`.

    Let a layer have the stride j. A stage with kernel k, stride s and padding p, whose position q sees the
    layer's positions q s - p up to q s - p + k - 1, has the stride s j. It sees p j pixels more before
    its cell, and (k - s - p) j more after it. Of n = (L - u) // j positions it makes
    (n + 2 p - k) // s + 1, which is (L - u') // (s j) with u' = u + (k - s - 2 p) j, and (s - 1) j less
    where an incomplete last window counts.
    """
    stride, before, after, unpadded = 1, 0, 0, 0
    for stage in stages_to(network, deepest):
        window = stage.window
        before += window.padding * stride
        after += (window.kernel - window.stride - window.padding) * stride
        unpadded += (window.kernel - window.stride - 2 * window.padding) * stride
        if window.ceil:
            unpadded -= (window.stride - 1) * stride
        stride *= window.stride
    return ReceptiveField(stride, before, after, unpadded)


def partition(picture: Size, core: int, field: ReceptiveField) -> Iterator[Piece]:
    """Cores of nearly equal size that cover the picture once, row by row, with their crops.

    They are as few as cores of `core` x `core` pixels would be. Their edges are multiples of the layer's
    stride; the last ones also hold what is left of the picture behind the last position's cell. So every
    core owns positions of the layer, and of each layer before it: a core from c to d owns, where the
    stride is s, the positions c // s up to d // s, as far as there are any.

    Raises ValueError where `core` is not a multiple of the layer's stride: pieces would not meet at
    positions of the layer.
    """
    if core < 1 or core % field.stride:
        raise ValueError(f"a core must be a multiple of the stride {field.stride}, got {core}")
    for top, bottom in _spans(picture.height, core, field):
        for left, right in _spans(picture.width, core, field):
            crop = Box(
                max(0, left - field.halo_before),
                max(0, top - field.halo_before),
                min(picture.width, right + field.halo_after),
                min(picture.height, bottom + field.halo_after),
            )
            yield Piece(Box(left, top, right, bottom), crop)


def _spans(length: int, core: int, field: ReceptiveField) -> Iterator[tuple[int, int]]:
    """Starts and stops along an axis: its positions shared evenly, and the rest with the last."""
    positions = max(1, field.positions(length))
    count = -(-positions * field.stride // core)
    starts = [field.stride * (number * positions // count) for number in range(count)]
    yield from zip(starts, [*starts[1:], length], strict=True)
