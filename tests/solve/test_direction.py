from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tilefarm.solve.direction import direction_coefficients

Array = NDArray[np.float64]


def dense_direction(pairs: list[tuple[Array, Array]], gradient: Array) -> Array:
    """-H g with H built as a matrix: Nocedal and Wright, equation 6.17, from H0 of equation 7.20."""
    n = len(gradient)
    inverse = np.eye(n)
    if pairs:
        s, y = pairs[-1]
        inverse *= (s @ y) / (y @ y)
    for s, y in pairs:
        rho = 1 / (s @ y)
        left = np.eye(n) - rho * np.outer(s, y)
        inverse = left @ inverse @ left.T + rho * np.outer(s, s)
    result: Array = -inverse @ gradient
    return result


def pairs_of_a_quadratic(generator: np.random.Generator, n: int, k: int) -> list[tuple[Array, Array]]:
    root = generator.standard_normal((n, n))
    hessian = root @ root.T / n + 0.1 * np.eye(n)
    return [(s, hessian @ s) for s in generator.standard_normal((k, n))]


@settings(deadline=None, max_examples=60)
@given(n=st.integers(2, 30), k=st.integers(0, 8), seed=st.integers(0, 10_000))
def test_direction_equals_that_of_the_dense_inverse_hessian(n: int, k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    pairs = pairs_of_a_quadratic(generator, n, k)
    gradient = generator.standard_normal(n)
    basis = np.array([*(s for s, _ in pairs), *(y for _, y in pairs), gradient])
    direction = direction_coefficients(basis @ basis.T) @ basis
    wanted = dense_direction(pairs, gradient)
    np.testing.assert_allclose(direction, wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())


def test_without_pairs_the_direction_is_the_steepest_descent() -> None:
    np.testing.assert_array_equal(direction_coefficients(np.array([[4.0]])), [-1.0])
