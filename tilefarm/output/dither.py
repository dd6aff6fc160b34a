"""Rounding to 8 bits that hides its steps in noise, so that skies do not band.

Plain rounding of a slow gradient gives bands that the eye finds even at one step of 255. Noise of the
triangular distribution of one step either way makes the rounding error's mean and its variance independent
of the value (Lipshitz, Wannamaker, Vanderkooy 1992, "Quantization and dither: a theoretical survey").
"""

from __future__ import annotations

import numpy as np
import pyvips
from numpy.typing import NDArray

from tilefarm.image.window import CHANNELS

_SIDE = 512
"""Pixels of the noise's tile: it repeats, which noise of one step shows nobody."""
_LEVELS = 1 << 14
"""Of uniform noise: a value of 255 or 0 with any of them still rounds to itself in float32."""


def dithered(image: pyvips.Image, seed: int) -> pyvips.Image:
    """Round a 3-band float image of 0..1 (what lies beyond is clipped) to 8 bits with noise from `seed`.

    The expected value of every result is exactly the value times 255. The noise is u + k v, both uniform in
    -1/2..1/2 and independent for each channel: triangular (k = 1) except within half a step of black and
    white, where k falls to 0, so that nothing is clipped, and black and white stay what they are. Pixel by
    pixel: the same image and seed give the same bytes in whatever order they are computed.
    """
    first, second = (_spread(noise, image) for noise in _tiles(seed))
    steps = image.clamp().linear(255, 0)
    share = (steps - 127.5).abs().linear(-2, 255).clamp()
    noisy = steps + first + share * second
    return noisy.rint().cast("uchar").copy(interpretation="srgb")


def _tiles(seed: int) -> NDArray[np.float32]:
    """Two tiles of uniform noise, shape (2, side, side, channels), -1/2..1/2 without its ends.

    From the raw bits of PCG64, which numpy keeps the same from version to version.
    """
    shape = (2, _SIDE, _SIDE, CHANNELS)
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape))) >> np.uint64(64 - 14)
    noise: NDArray[np.float32] = ((bits.reshape(shape) + 0.5) / _LEVELS - 0.5).astype(np.float32)
    return noise


def _spread(noise: NDArray[np.float32], image: pyvips.Image) -> pyvips.Image:
    tile = pyvips.Image.new_from_memory(np.ascontiguousarray(noise), _SIDE, _SIDE, CHANNELS, "float")
    across, down = -(-image.width // _SIDE), -(-image.height // _SIDE)
    return tile.replicate(across, down).crop(0, 0, image.width, image.height)
