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

from tilefarm.solve.distances import (
    Compare,
    covariance_distance,
    deviation_distance,
    mean_distance,
    sum_of,
)
from tilefarm.solve.moments import (
    TINY,
    Array,
    Drift,
    Moments,
    channel_variances,
    covariance_matrix,
    gram_matrix,
    norm_squared,
    total_of,
    trace_of,
)
from tilefarm.spec.objective import Units

_SMALLEST_EIGENVALUE = 1e-5
"""Of the style's mean variance, added to covariances before their roots are taken: so that the roots have a
slope where features do not vary."""
_PUBLISHED_EIGENVALUE = 1e-4
"""What style-transfer-pytorch adds, and we in absolute and averaged units: so its loss is met to 1e-4."""
_ROUNDED_EIGENVALUE = 1e-7
"""Of the mean variance, where that is more: float32 would be lost otherwise. With it a gradient in float32 is
within 2e-5 of that in float64."""


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


def _gram_error(style: Moments, drift: Drift | None, shift: float, units: Units) -> Compare:
    """sum((G - A)^2) / sum(A^2), G = E[(f + s)(f + s)^T] and A the style's (Gatys et al. 2016, equation 4).

    The shift s is the activation shift of Novak and Nikulin 2016, "Improving the neural algorithm of artistic
    style": with a negative one, channels that are silent together count as alike.
    """
    reference = target = gram_matrix(style, shift)
    if drift is not None:
        target = reference + gram_matrix(drift.own, shift) - gram_matrix(drift.whole, shift)
    size = _divisor(total_of(reference * reference), reference.shape[-1] ** 4, units)

    def compare(found: Moments) -> tuple[Array, Moments]:
        difference = gram_matrix(found, shift) - target
        slope = 2 * difference / size[..., None, None]
        return total_of(difference * difference) / size, Moments(2 * shift * slope.sum(-1), slope)

    return compare


def _mean_error(style: Moments, drift: Drift | None, _: float, units: Units) -> Compare:
    """sum((m - m*)^2) / sum(m*^2) of the channels' means."""
    return mean_distance(style, drift, _per_channel(norm_squared(style.mean), style, units))


def _deviation_error(style: Moments, drift: Drift | None, _: float, units: Units) -> Compare:
    """sum((d - d*)^2) / sum(d*^2) of the channels' standard deviations."""
    return deviation_distance(style, drift, _per_channel(channel_variances(style).sum(-1), style, units))


def _remap_error(style: Moments, drift: Drift | None, _: float, units: Units) -> Compare:
    """E|f - R(f)|^2 / E|f*|^2, R(f) = (f - m) d* / d + m*: features remapped to the style's distribution.

    The histogram loss of Risser, Wilmot and Barnes 2017, "Stable and controllable neural texture synthesis
    and style transfer using histogram losses", with mean m and deviation d for the histogram. As
    there, R(f) is constant in the gradient. Written out, E|f - R(f)|^2 is sum((m - m*)^2) + sum((d - d*)^2),
    and 2 (f - R(f)) is the gradient of that sum: so the loss is a function of moments.
    """
    size = _per_channel(trace_of(style.product), style, units)
    return sum_of(mean_distance(style, drift, size), deviation_distance(style, drift, size))


def _wasserstein_error(style: Moments, drift: Drift | None, _: float, units: Units) -> Compare:
    """The squared 2-Wasserstein distance of normal distributions, over E|f*|^2 (Gelbrich 1990, theorem 2.1).

    |m - m*|^2 + tr(C + C* - 2 (C*^1/2 C C*^1/2)^1/2) with covariances C.
    """
    size = _per_channel(trace_of(style.product), style, units)
    variances, channels = trace_of(covariance_matrix(style)), style.mean.shape[-1]
    smallest = _SMALLEST_EIGENVALUE * variances / channels + TINY
    if units != "relative":
        smallest = (_ROUNDED_EIGENVALUE * variances / channels).clip(_PUBLISHED_EIGENVALUE)
    return sum_of(mean_distance(style, drift, size), covariance_distance(style, drift, size, smallest))


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
        return size + TINY
    return 0 * size + (entries if units == "averaged" else 1)
