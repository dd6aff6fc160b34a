"""Colour arithmetic on pixels: luma and chroma, value and saturation. Pure functions of arrays.

Pixels are float64 arrays of shape (n, 3), gamma-encoded sRGB, with 0..1 for black to white.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]
Shares = NDArray[np.float64]
"""How much each of n pixels counts, (n,), 0..1."""

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of R', G', B' in the luma Y' (ITU-R BT.601-7, section 2.5.1), as in JPEG files."""


def luma(rgb: Pixels) -> Pixels:
    """Y' of each pixel, (n,)."""
    # Written out: a matrix product may add in another order with another number of threads.
    result: Pixels = LUMA[0] * rgb[:, 0] + LUMA[1] * rgb[:, 1] + LUMA[2] * rgb[:, 2]
    return result


def grey(values: Pixels) -> Pixels:
    """Values (n,) as pixels whose three channels are equal to the bit."""
    return np.repeat(values[:, np.newaxis], 3, axis=1)


def with_chroma_of(picture: Pixels, content: Pixels) -> Pixels:
    """The picture's Y' with the content's Cb and Cr; both clipped to 0..1 first.

    Cb and Cr are multiples of B' - Y' and R' - Y', so that keeping them means keeping the three
    differences to Y'. Where the sum would leave 0..1, the differences are made smaller, all by the same
    factor: luma and hue stay what they are, and the colour is as strong as the brightness allows.
    """
    y, content = luma(picture.clip(0, 1)).clip(0, 1)[:, np.newaxis], content.clip(0, 1)
    chroma = content - luma(content)[:, np.newaxis]
    room = np.where(chroma > 0, 1 - y, y)
    share = np.divide(room, np.abs(chroma), out=np.ones_like(chroma), where=np.abs(chroma) > room)
    result: Pixels = (y + share.min(axis=1, keepdims=True) * chroma).clip(0, 1)  # of rounding errors
    return result


def with_hue_of(picture: Pixels, content: Pixels) -> Pixels:
    """The picture's V with the content's H and S; both clipped to 0..1 first.

    V is the largest channel (Smith 1978). H and S depend on the proportions of the channels only, so the
    content's pixel is scaled to the picture's V; black, which has neither hue nor saturation, becomes grey.
    """
    value, content = picture.clip(0, 1).max(axis=1, keepdims=True), content.clip(0, 1)
    largest = content.max(axis=1, keepdims=True)
    result: Pixels = value * np.divide(content, largest, out=np.ones_like(content), where=largest > 0)
    return result


def value_and_saturation(rgb: Pixels) -> Pixels:
    """V and S of each pixel, (n, 2); values below 0 count as 0. S of black is 0."""
    rgb = np.maximum(rgb, 0)
    value, least = rgb.max(axis=1), rgb.min(axis=1)
    saturation = np.divide(value - least, value, out=np.zeros_like(value), where=value > 0)
    return np.stack([value, saturation], axis=1)


def with_value_and_saturation(rgb: Pixels, wanted: Pixels) -> Pixels:
    """Pixels with their own hue and the V and S of `wanted` (n, 2); greys, which have no hue, stay grey."""
    rgb = np.maximum(rgb, 0)
    value, least = rgb.max(axis=1, keepdims=True), rgb.min(axis=1, keepdims=True)
    # 0 for the largest channel, 1 for the smallest: what the hue leaves of each channel at full saturation.
    lack = np.divide(value - rgb, value - least, out=np.zeros_like(rgb), where=value > least)
    result: Pixels = wanted[:, :1] * (1 - wanted[:, 1:] * lack)
    return result
