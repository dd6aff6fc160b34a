"""Mean and covariance of colours, and the linear maps between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilefarm.colour.pixels import LUMA, Pixels, Shares

_FLAT = 1e-8
"""A variance below this (a deviation of 1e-4, a fortieth of a step of 8 bits) counts as none: what a picture
does not show cannot be made larger, and rounding errors must not be."""
_SHIFT = 0.5
"""Taken off before squaring, so that the variance is not a small difference of large numbers."""


@dataclass(frozen=True)
class Moments:
    """Mean (3,) and covariance (3, 3) of a picture's colours, divided by the number of pixels that count."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def luma_mean(self) -> float:
        """The mean of Y'."""
        return float(LUMA @ self.mean)

    @property
    def luma_deviation(self) -> float:
        """The standard deviation of Y'."""
        return float(np.sqrt(max(0.0, LUMA @ self.covariance @ LUMA)))


class MomentSums:
    """Sums over pixels, added up band by band."""

    def __init__(self) -> None:
        self._count = 0.0
        self._sums = np.zeros(3)
        self._products = np.zeros((3, 3))

    def add(self, pixels: Pixels, shares: Shares | None = None) -> None:
        """Count pixels (n, 3), each by its share of 0..1; None: all by 1."""
        channels = pixels.T - _SHIFT
        counted = channels if shares is None else channels * shares
        self._count += len(pixels) if shares is None else float(shares.sum())
        self._sums += counted.sum(axis=1)
        for row in range(3):
            for column in range(row, 3):  # not a matrix product, whose sums depend on the threads
                product = float((counted[row] * channels[column]).sum())
                self._products[row, column] += product
                if row != column:
                    self._products[column, row] += product

    def moments(self) -> Moments:
        """Of all pixels that were added, of which one must count."""
        mean = self._sums / self._count
        return Moments(mean + _SHIFT, self._products / self._count - np.outer(mean, mean))


def mixture(parts: Sequence[Moments], weights: Sequence[float]) -> Moments:
    """The moments of a mixture of colours with these weights, which need not add up to 1."""
    shares = np.array(weights) / sum(weights)
    means = np.stack([part.mean for part in parts])
    mean = shares @ means
    about = [part.covariance + np.outer(part.mean - mean, part.mean - mean) for part in parts]
    return Moments(mean, sum((s * c for s, c in zip(shares, about, strict=True)), np.zeros((3, 3))))


def square_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric square root of a covariance matrix (3, 3)."""
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


@dataclass(frozen=True)
class LinearMap:
    """x -> matrix (x - start) + end."""

    matrix: NDArray[np.float64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]

    @classmethod
    def between(cls, source: Moments, target: Moments) -> LinearMap:
        """The map that gives colours of `source` the mean and covariance of `target`.

        A = S_target^(1/2) S_source^(-1/2), the form of "Image Analogies" (Gatys et al. 2016, "Preserving
        color in neural artistic style transfer", on linear colour transfer). The other form there, with
        Cholesky factors, depends on the order of the channels; symmetric roots do not. Directions of
        colour that the source does not have stay without.
        """
        values, vectors = np.linalg.eigh(source.covariance)
        inverse = np.divide(1, np.sqrt(values.clip(_FLAT)), out=np.zeros(3), where=values > _FLAT)
        root = square_root(target.covariance)
        return cls(root @ (vectors * inverse) @ vectors.T, source.mean, target.mean)

    def __call__(self, pixels: Pixels) -> Pixels:
        """Pixels (n, 3), each on its own: the same values give the same result in any company."""
        r, g, b = (pixels - self.start).T
        columns = [row[0] * r + row[1] * g + row[2] * b for row in self.matrix]
        result: Pixels = np.stack(columns, axis=1) + self.end
        return result


@dataclass(frozen=True)
class LumaMap:
    """Y' -> factor (Y' - start) + end."""

    factor: float
    start: float
    end: float

    @classmethod
    def between(cls, source: Moments, target: Moments) -> LumaMap:
        """Mean and deviation of the luma of `source` become those of `target` (Gatys et al. 2016, as above,
        on luminance-only transfer, after Hertzmann et al. 2001). A flat luma becomes the target's mean."""
        flat = source.luma_deviation**2 <= _FLAT
        factor = 0.0 if flat else target.luma_deviation / source.luma_deviation
        return cls(factor, source.luma_mean, target.luma_mean)

    def __call__(self, values: Pixels) -> Pixels:
        """Lumas of any shape."""
        return self.factor * (values - self.start) + self.end
