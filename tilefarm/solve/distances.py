"""Squared distances of moments from targets, with their slopes by the moments. No torch of its own.

Arrays and dimensions as in `solve.moments`. Every function here returns a `Compare`, which works out what
does not change only once.
"""

from __future__ import annotations

from collections.abc import Callable

from array_api_compat import array_namespace

from tilefarm.solve.moments import (
    TINY,
    Array,
    Drift,
    Moments,
    channel_variances,
    covariance_matrix,
    eigen,
    identity_like,
    in_dtype_of,
    norm_squared,
    to_double,
    trace_of,
)

_SMALLEST_VARIANCE = 1e-6
"""Of the style's mean variance, added to variances: the root then has a slope at a constant channel."""

Compare = Callable[[Moments], tuple[Array, Moments]]
"""A picture's moments to the error, shape (...), and its slopes."""


def mean_distance(style: Moments, drift: Drift | None, divisor: Array) -> Compare:
    """sum((m - m*)^2) over the channels, divided by `divisor` (...)."""
    target = style.mean if drift is None else style.mean + drift.own.mean - drift.whole.mean

    def compare(found: Moments) -> tuple[Array, Moments]:
        difference = found.mean - target
        slope = 2 * difference / divisor[..., None]
        return norm_squared(difference) / divisor, Moments(slope, 0 * found.product)

    return compare


def deviation_distance(style: Moments, drift: Drift | None, divisor: Array) -> Compare:
    """sum((d - d*)^2) over the channels, divided by `divisor` (...)."""
    floor = _SMALLEST_VARIANCE * channel_variances(style).mean(-1)[..., None] + TINY

    def deviations(moments: Moments) -> Array:
        return (channel_variances(moments) + floor) ** 0.5

    target = deviations(style)
    if drift is not None:
        target = (target + deviations(drift.own) - deviations(drift.whole)).clip(0)

    def compare(found: Moments) -> tuple[Array, Moments]:
        root = deviations(found)
        slope = (root - target) / root / divisor[..., None]  # by the variance
        back = Moments(-2 * found.mean * slope, slope[..., None] * identity_like(found.product))
        return norm_squared(root - target) / divisor, back

    return compare


def covariance_distance(style: Moments, drift: Drift | None, size: Array, smallest: Array) -> Compare:
    """tr(C + C* - 2 (C*^1/2 C C*^1/2)^1/2) over `size` (...); `smallest` (...) is added to all variances.

    Its slope by C is 1 - C*^1/2 (C*^1/2 C C*^1/2)^-1/2 C*^1/2. In float64: roots lose half the digits."""
    wanted = covariance_matrix(style)
    one = identity_like(wanted)
    floor = smallest[..., None, None] * one
    if drift is not None:
        wanted = wanted + covariance_matrix(drift.own) - covariance_matrix(drift.whole)
    values, vectors = eigen(wanted + floor)
    values = values.clip(0)  # of a sum of differences some may be negative
    root = (vectors * values[..., None, :] ** 0.5) @ vectors.swapaxes(-1, -2)
    divisor = to_double(size)

    def compare(found: Moments) -> tuple[Array, Moments]:
        covariance = covariance_matrix(found) + floor
        squares, directions = eigen(root @ covariance @ root)
        # Rounding can make eigenvalues smaller than they can be, and the slopes of their roots infinite.
        lengths = array_namespace(squares).maximum(squares, (smallest * smallest)[..., None]) ** 0.5
        between = root @ (directions / lengths[..., None, :]) @ directions.swapaxes(-1, -2) @ root
        slope = (one - between) / divisor[..., None, None]
        error = (trace_of(covariance) + values.sum(-1) - 2 * lengths.sum(-1)) / divisor
        back = -2 * (slope @ to_double(found.mean)[..., None])[..., 0]
        return in_dtype_of(error, found.mean), Moments(
            in_dtype_of(back, found.mean), in_dtype_of(slope, found.product)
        )

    return compare


def sum_of(*terms: Compare) -> Compare:
    """The sum of several distances."""

    def compare(found: Moments) -> tuple[Array, Moments]:
        errors, slopes = zip(*(term(found) for term in terms), strict=True)
        means, products = zip(*slopes, strict=True)
        return sum(errors), Moments(sum(means), sum(products))

    return compare
