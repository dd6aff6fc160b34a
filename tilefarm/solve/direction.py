"""The search direction of L-BFGS as numbers only: what to multiply each stored vector with.

The two-loop recursion (Nocedal and Wright 2006, algorithm 7.4) needs nothing from its vectors but
their dot products. Given all dot products between them it can run on coefficients alone, and the
direction is one weighted sum at its end (Chen, Wang and Zhou 2014, "Large-scale L-BFGS using
MapReduce", algorithm 3). The vectors may then be of any size and in any place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def direction_coefficients(dots: NDArray[np.float64]) -> NDArray[np.float64]:
    """The coefficients of the direction -H g in the basis [s_1 ... s_k, y_1 ... y_k, g].

    `dots` holds all dot products of that basis, shape (2k + 1, 2k + 1), the oldest pair first; every
    s_i . y_i must be positive. H is the inverse Hessian of k BFGS updates of the start
    H0 = (s_k . y_k) / (y_k . y_k) (equation 7.20), or the identity when k is 0. The result has shape
    (2k + 1,).
    """
    k = (len(dots) - 1) // 2
    curvature = dots[np.arange(k), k + np.arange(k)]
    coefficients = np.zeros(2 * k + 1)
    coefficients[-1] = -1.0
    alpha = np.zeros(k)
    for i in reversed(range(k)):
        alpha[i] = coefficients @ dots[:, i] / curvature[i]
        coefficients[k + i] -= alpha[i]
    if k:
        coefficients *= curvature[-1] / dots[2 * k - 1, 2 * k - 1]
    for i in range(k):
        beta = coefficients @ dots[:, k + i] / curvature[i]
        coefficients[i] += alpha[i] - beta
    return coefficients
