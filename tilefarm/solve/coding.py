"""How pictures travel between driver and workers: as they are, packed without loss, or in half the bytes.

- `float32`: as they are, four bytes a value.
- `packed`: the upper byte of every value, its sign and the upper seven bits of its exponent, in Huffman's
  code: pixels and gradients need few of its 256 values. The other three bytes stay as they are. Nothing is
  lost; what comes out is the same bit for bit.
- `half`: two bytes a value. Pixels in fixed point: their values are spread over 0..1, and equal steps keep
  bright ones, where float16 has steps of 1/2048, as well as dark ones. Gradients in float16: they are spread
  over many orders of magnitude.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tilefarm.solve.contract import Picture

Coding = Literal["float32", "packed", "half"]

FIXED_STEP_BITS = 14
"""Pixels in half the bytes are multiples of 2^-14 while they are within -2..2: a 64th of an 8-bit step."""
_LARGEST_FIXED = 32767
_LARGEST_HALF_BITS = 15
"""Gradients are scaled so that the largest is between 2^14 and 2^15: half of float16's largest number."""


@dataclass(frozen=True)
class PackedPicture:
    """A float32 picture without loss."""

    shape: tuple[int, int, int]
    low: NDArray[np.uint16]
    """Per value its lower two bytes, shape (values,)."""
    middle: NDArray[np.uint8]
    """The third byte."""
    high: NDArray[np.uint8]
    """All fourth bytes, deflated with Huffman's code alone."""


@dataclass(frozen=True)
class FixedPicture:
    """Pixels in 16-bit fixed point: `values` times 2^`exponent`."""

    values: NDArray[np.int16]
    exponent: int


@dataclass(frozen=True)
class ScaledPicture:
    """A gradient in float16: `values` times 2^`exponent`."""

    values: NDArray[np.float16]
    exponent: int


Coded = Picture | PackedPicture | FixedPicture | ScaledPicture
"""A picture on its way, shape (height, width, 3)."""


def coded_pixels(picture: Picture, coding: Coding) -> Coded:
    """Pixels, finite, as they travel."""
    if coding == "float32":
        return picture
    return _packed(picture) if coding == "packed" else _fixed(picture)


def coded_gradient(gradient: Picture, coding: Coding) -> Coded:
    """A gradient as it travels. Values that are not finite stay so."""
    if coding == "float32":
        return gradient
    return _packed(gradient) if coding == "packed" else _scaled(gradient)


def decoded(coded: Coded) -> Picture:
    """The picture that was sent."""
    if isinstance(coded, PackedPicture):
        high = np.frombuffer(zlib.decompress(coded.high.data, -zlib.MAX_WBITS), np.uint8)
        bits = high.astype(np.uint32)
        bits <<= 8
        bits |= coded.middle
        bits <<= 16
        bits |= coded.low
        return bits.view(np.float32).reshape(coded.shape)
    if isinstance(coded, FixedPicture | ScaledPicture):
        return np.ldexp(coded.values.astype(np.float32), coded.exponent)
    return coded


def _packed(picture: Picture) -> PackedPicture:
    bits = np.ascontiguousarray(picture, np.float32).view(np.uint32).ravel()
    coder = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, strategy=zlib.Z_HUFFMAN_ONLY)
    high = coder.compress((bits >> 24).astype(np.uint8).data) + coder.flush()
    height, width, channels = picture.shape
    return PackedPicture(
        shape=(height, width, channels),
        low=bits.astype(np.uint16),
        middle=(bits >> 16).astype(np.uint8),
        high=np.frombuffer(high, np.uint8),
    )


def _fixed(picture: Picture) -> FixedPicture:
    """Coarser only where a value is beyond -2..2, by the power of two that brings it in."""
    exponent = -FIXED_STEP_BITS
    largest = float(np.abs(picture).max(initial=0.0))
    while math.isfinite(largest) and largest > math.ldexp(_LARGEST_FIXED, exponent):
        exponent += 1
    values = np.rint(np.ldexp(picture, -exponent))
    return FixedPicture(values.astype(np.int16), exponent)


def _scaled(gradient: Picture) -> ScaledPicture:
    """The exponent is held where float32 can scale by it, so that the smallest gradients do not fail."""
    largest = float(np.abs(gradient).max(initial=0.0))
    exponent = 0
    if math.isfinite(largest) and largest:
        exponent = max(-126, math.frexp(largest)[1] - _LARGEST_HALF_BITS)
    with np.errstate(over="ignore"):  # of what is not finite anyway
        return ScaledPicture(np.ldexp(gradient, -exponent).astype(np.float16), exponent)
