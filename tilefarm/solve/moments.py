"""Moments of a layer's features, and the arithmetic on them that all statistics share. No torch of its own.

The same functions serve numpy arrays and torch tensors. Leading dimensions (...) are tiles, regions, or none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

Array = Any
"""A numpy array or a torch tensor."""

TINY = 1e-30
"""Added to divisors: what activates nothing is compared without being divided by 0."""


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


def squared_length(slopes: Moments, sums: Moments, sizes: Array) -> Array:
    """sum(w |2 D f + d|^2) over positions, (...), for slopes D, d by the sums of w f f^T and w f.

    `sizes` (...) are the sums of w: the squared length of the gradient by the features, without features.
    Around the mean u it is 4 tr(D C D) + W |2 D u + d|^2. Where features hardly vary, what is left of C is
    rounding: nothing below 1e-8 of the parts that cancel is believed.
    """
    mean = sums.mean / (sizes + TINY)[..., None]
    spread = sums.product - sums.mean[..., None] * mean[..., None, :]
    varying = 4 * total_of((slopes.product @ spread) * slopes.product)
    steady = sizes * norm_squared(2 * (slopes.product @ mean[..., None])[..., 0] + slopes.mean)
    parts = 4 * total_of((slopes.product @ sums.product) * slopes.product) + sizes * norm_squared(slopes.mean)
    least = 1e-8 * parts.clip(0)
    return least + (varying.clip(0) + steady - least).clip(0)


def gram_matrix(moments: Moments, shift: float) -> Array:
    """E[(f + s)(f + s)^T]."""
    if not shift:
        return moments.product
    return moments.product + shift * (moments.mean[..., None] + moments.mean[..., None, :]) + shift**2


def channel_variances(moments: Moments) -> Array:
    """Of every channel, (..., N), never negative."""
    return (moments.product.diagonal(0, -2, -1) - moments.mean * moments.mean).clip(0)


def covariance_matrix(moments: Moments) -> Array:
    """In float64."""
    mean = to_double(moments.mean)
    return to_double(moments.product) - mean[..., None] * mean[..., None, :]


def eigen(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and eigenvectors of symmetric matrices."""
    values, vectors = array_namespace(matrix).linalg.eigh(matrix)
    return values, vectors


def norm_squared(vector: Array) -> Array:
    """sum(v^2) over the last dimension."""
    return (vector * vector).sum(-1)


def total_of(matrix: Array) -> Array:
    """Summed row by row: so torch divides no single sum among its threads, and bits do not depend on them."""
    return matrix.sum(-1).sum(-1)


def trace_of(matrix: Array) -> Array:
    """The sum of the diagonals of (..., N, N)."""
    return matrix.diagonal(0, -2, -1).sum(-1)


def identity_like(like: Array) -> Array:
    """The unit matrix (N, N) with the dtype and on the device of `like`."""
    return array_namespace(like).eye(like.shape[-1], dtype=like.dtype, device=device(like))


def to_double(x: Array) -> Array:
    """The same numbers in float64."""
    xp = array_namespace(x)
    return xp.astype(x, xp.float64)


def in_dtype_of(x: Array, like: Array) -> Array:
    """The numbers x in the dtype of `like`."""
    return array_namespace(x).astype(x, like.dtype)
