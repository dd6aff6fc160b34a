"""Statistics of a layer's features and how far they are from a style's: pure formulas, no torch of their own.

Every statistic here is a function of two moments, the mean E[f] and the mean product E[f f^T] of the features
f over positions. Both are sums over positions, so pieces of a picture add up to the whole, and the exact
method needs nothing else: the slopes of an error with respect to the moments are all that a piece must know
to carry the error back to its pixels.

The same formulas serve numpy arrays (the whole picture, in the driver) and torch tensors (a batch of tiles,
on their device). Leading dimensions (...) are tiles, regions, or none. Every error is relative to the size of
the style's own statistic: 1.0 means "as far from the style as features that are all zero", so that layers and
statistics of equal weight are equally important. In absolute units errors are the dividends of the formulas
below, and in averaged units means of their squares: over N for N channels, and N^4 for Gram matrices, which
are divided by N themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from tilefarm.spec.objective import Units

Array = Any
"""A numpy array or a torch tensor."""

_TINY = 1e-30
"""Added to divisors: a style that activates nothing is compared without being divided by 0."""
_SMALLEST_VARIANCE = 1e-6
"""Of the style's mean variance, added to variances: the root then has a slope at a constant channel."""
_SMALLEST_EIGENVALUE = 1e-5
"""Of the style's mean variance, added to covariances before their roots are taken, likewise."""
_PUBLISHED_EIGENVALUE = 1e-4
"""What style-transfer-pytorch adds, and we in absolute and averaged units: so its loss is met to 1e-4."""
_ROUNDED_EIGENVALUE = 1e-7
"""Of the mean variance, where that is more: float32 would be lost otherwise. With it a gradient in float32 is
within 2e-5 of that in float64."""


class Moments(NamedTuple):
    """Of features f with N channels; or the slopes of an error with respect to them."""

    mean: Array
    """E[f], shape (..., N)."""
    product: Array
    """E[f f^T], shape (..., N, N)."""


class Drift(NamedTuple):
    """What makes a tile do its share of the whole picture's work: it aims at style + own - whole."""

    own: Moments
    """The tile's at the start of the round."""
    whole: Moments
    """The whole picture's at that time."""


Compare = Callable[[Moments], tuple[Array, Moments]]
"""A picture's moments to the error, shape (...), and its slopes."""


def comparison(
    statistics: tuple[tuple[str, float], ...],
    shift: float,
    style: Moments,
    drift: Drift | None = None,
    units: Units = "relative",
) -> Compare:
    """The weighted mean of the errors of several statistics (names of `STATISTICS`) of one layer.

    `shift` is added to all features before Gram matrices are formed. In other units than relative ones the
    weights are plain factors, and the result is a sum.
    """
    total = sum(weight for _, weight in statistics) if units == "relative" else 1.0
    terms = [
        (weight / total, STATISTICS[name](style, drift, shift, units))
        for name, weight in statistics
        if weight
    ]

    def compare(found: Moments) -> tuple[Array, Moments]:
        parts = [(weight, *term(found)) for weight, term in terms]
        error = sum(weight * error for weight, error, _ in parts)
        mean = sum(weight * slope.mean for weight, _, slope in parts)
        return error, Moments(mean, sum(weight * slope.product for weight, _, slope in parts))

    return compare


def squared_length(slopes: Moments, sums: Moments, sizes: Array) -> Array:
    """sum(w |2 D f + d|^2) over positions, (...), for slopes D, d by the sums of w f f^T and w f.

    `sizes` (...) are the sums of w: the squared length of the gradient by the features, without features.
    Around the mean u it is 4 tr(D C D) + W |2 D u + d|^2. Where features hardly vary, what is left of C is
    rounding: nothing below 1e-8 of the parts that cancel is believed.
    """
    mean = sums.mean / (sizes + _TINY)[..., None]
    spread = sums.product - sums.mean[..., None] * mean[..., None, :]
    varying = 4 * _total((slopes.product @ spread) * slopes.product)
    steady = sizes * _norm(2 * (slopes.product @ mean[..., None])[..., 0] + slopes.mean)
    parts = 4 * _total((slopes.product @ sums.product) * slopes.product) + sizes * _norm(slopes.mean)
    least = 1e-8 * parts.clip(0)
    return least + (varying.clip(0) + steady - least).clip(0)


def _gram_error(style: Moments, drift: Drift | None, shift: float, units: Units) -> Compare:
    """sum((G - A)^2) / sum(A^2), G = E[(f + s)(f + s)^T] and A the style's (Gatys et al. 2016, equation 4).

    The shift s is the activation shift of Novak and Nikulin 2016, "Improving the neural algorithm of artistic
    style": with a negative one, channels that are silent together count as alike.
    """
    reference = target = _gram(style, shift)
    if drift is not None:
        target = reference + _gram(drift.own, shift) - _gram(drift.whole, shift)
    size = _divisor(_total(reference * reference), reference.shape[-1] ** 4, units)

    def compare(found: Moments) -> tuple[Array, Moments]:
        difference = _gram(found, shift) - target
        slope = 2 * difference / size[..., None, None]
        return _total(difference * difference) / size, Moments(2 * shift * slope.sum(-1), slope)

    return compare


def _mean_error(style: Moments, drift: Drift | None, _: float, units: Units) -> Compare:
    """sum((m - m*)^2) / sum(m*^2) of the channels' means."""
    return _mean_distance(style, drift, _per_channel(_norm(style.mean), style, units))


def _deviation_error(style: Moments, drift: Drift | None, _: float, units: Units) -> Compare:
    """sum((d - d*)^2) / sum(d*^2) of the channels' standard deviations."""
    return _deviation_distance(style, drift, _per_channel(_variances(style).sum(-1), style, units))


def _remap_error(style: Moments, drift: Drift | None, _: float, units: Units) -> Compare:
    """E|f - R(f)|^2 / E|f*|^2, R(f) = (f - m) d* / d + m*: features remapped to the style's distribution.

    The histogram loss of Risser, Wilmot and Barnes 2017, "Stable and controllable neural texture synthesis
    and style transfer using histogram losses", with mean m and deviation d for the histogram. As
    there, R(f) is constant in the gradient. Written out, E|f - R(f)|^2 is sum((m - m*)^2) + sum((d - d*)^2),
    and 2 (f - R(f)) is the gradient of that sum: so the loss is a function of moments.
    """
    size = _per_channel(_trace(style.product), style, units)
    return _sum_of(_mean_distance(style, drift, size), _deviation_distance(style, drift, size))


def _wasserstein_error(style: Moments, drift: Drift | None, _: float, units: Units) -> Compare:
    """The squared 2-Wasserstein distance of normal distributions, over E|f*|^2 (Gelbrich 1990, theorem 2.1).

    |m - m*|^2 + tr(C + C* - 2 (C*^1/2 C C*^1/2)^1/2) with covariances C.
    """
    size = _per_channel(_trace(style.product), style, units)
    variances, channels = _trace(_covariance(style)), style.mean.shape[-1]
    smallest = _SMALLEST_EIGENVALUE * variances / channels + _TINY
    if units != "relative":
        smallest = (_ROUNDED_EIGENVALUE * variances / channels).clip(_PUBLISHED_EIGENVALUE)
    return _sum_of(_mean_distance(style, drift, size), _covariance_distance(style, drift, size, smallest))


STATISTICS: dict[str, Callable[[Moments, Drift | None, float, Units], Compare]] = {
    "gram": _gram_error,
    "mean": _mean_error,
    "std": _deviation_error,
    "remap": _remap_error,
    "wasserstein": _wasserstein_error,
}


def _per_channel(size: Array, style: Moments, units: Units) -> Array:
    return _divisor(size, style.mean.shape[-1], units)


def _divisor(size: Array, entries: int, units: Units) -> Array:
    """What a squared distance is divided by: the style's own `size` (...), nothing, or `entries`."""
    if units == "relative":
        return size + _TINY
    return 0 * size + (entries if units == "averaged" else 1)


def _mean_distance(style: Moments, drift: Drift | None, divisor: Array) -> Compare:
    target = style.mean if drift is None else style.mean + drift.own.mean - drift.whole.mean

    def compare(found: Moments) -> tuple[Array, Moments]:
        difference = found.mean - target
        slope = 2 * difference / divisor[..., None]
        return _norm(difference) / divisor, Moments(slope, 0 * found.product)

    return compare


def _deviation_distance(style: Moments, drift: Drift | None, divisor: Array) -> Compare:
    floor = _SMALLEST_VARIANCE * _variances(style).mean(-1)[..., None] + _TINY

    def deviations(moments: Moments) -> Array:
        return (_variances(moments) + floor) ** 0.5

    target = deviations(style)
    if drift is not None:
        target = (target + deviations(drift.own) - deviations(drift.whole)).clip(0)

    def compare(found: Moments) -> tuple[Array, Moments]:
        root = deviations(found)
        slope = (root - target) / root / divisor[..., None]  # by the variance
        back = Moments(-2 * found.mean * slope, slope[..., None] * _identity(found.product))
        return _norm(root - target) / divisor, back

    return compare


def _covariance_distance(style: Moments, drift: Drift | None, size: Array, smallest: Array) -> Compare:
    """Its slope by C is 1 - C*^1/2 (C*^1/2 C C*^1/2)^-1/2 C*^1/2. In float64: roots lose half the digits."""
    wanted = _covariance(style)
    one = _identity(wanted)
    floor = smallest[..., None, None] * one
    if drift is not None:
        wanted = wanted + _covariance(drift.own) - _covariance(drift.whole)
    values, vectors = _eigen(wanted + floor)
    values = values.clip(0)  # of a sum of differences some may be negative
    root = (vectors * values[..., None, :] ** 0.5) @ vectors.swapaxes(-1, -2)
    divisor = _double(size)

    def compare(found: Moments) -> tuple[Array, Moments]:
        covariance = _covariance(found) + floor
        squares, directions = _eigen(root @ covariance @ root)
        # Rounding can make eigenvalues smaller than they can be, and the slopes of their roots infinite.
        lengths = array_namespace(squares).maximum(squares, (smallest * smallest)[..., None]) ** 0.5
        between = root @ (directions / lengths[..., None, :]) @ directions.swapaxes(-1, -2) @ root
        slope = (one - between) / divisor[..., None, None]
        error = (_trace(covariance) + values.sum(-1) - 2 * lengths.sum(-1)) / divisor
        back = -2 * (slope @ _double(found.mean)[..., None])[..., 0]
        return _like(error, found.mean), Moments(_like(back, found.mean), _like(slope, found.product))

    return compare


def _sum_of(*terms: Compare) -> Compare:
    def compare(found: Moments) -> tuple[Array, Moments]:
        errors, slopes = zip(*(term(found) for term in terms), strict=True)
        means, products = zip(*slopes, strict=True)
        return sum(errors), Moments(sum(means), sum(products))

    return compare


def _gram(moments: Moments, shift: float) -> Array:
    """E[(f + s)(f + s)^T]."""
    if not shift:
        return moments.product
    return moments.product + shift * (moments.mean[..., None] + moments.mean[..., None, :]) + shift**2


def _variances(moments: Moments) -> Array:
    return (moments.product.diagonal(0, -2, -1) - moments.mean * moments.mean).clip(0)


def _covariance(moments: Moments) -> Array:
    """In float64."""
    mean = _double(moments.mean)
    return _double(moments.product) - mean[..., None] * mean[..., None, :]


def _eigen(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and eigenvectors of symmetric matrices."""
    values, vectors = array_namespace(matrix).linalg.eigh(matrix)
    return values, vectors


def _norm(vector: Array) -> Array:
    return (vector * vector).sum(-1)


def _total(matrix: Array) -> Array:
    """Summed row by row: so torch divides no single sum among its threads, and bits do not depend on them."""
    return matrix.sum(-1).sum(-1)


def _trace(matrix: Array) -> Array:
    return matrix.diagonal(0, -2, -1).sum(-1)


def _identity(like: Array) -> Array:
    return array_namespace(like).eye(like.shape[-1], dtype=like.dtype, device=device(like))


def _double(x: Array) -> Array:
    xp = array_namespace(x)
    return xp.astype(x, xp.float64)


def _like(x: Array, like: Array) -> Array:
    return array_namespace(x).astype(x, like.dtype)
