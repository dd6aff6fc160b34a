"""Conjugate gradients on functions whose minimum is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tilefarm.solve.cg import ConjugateGradients
from tilefarm.solve.search import Minimum, Search, run

Function = Callable[[Tensor], Tensor]


class Counted:
    """A function (B, D) -> (B,) with its gradient that keeps every point and loss."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.points: list[Tensor] = []

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.points.append(x.clone())
        x = x.detach().requires_grad_()
        losses = self.function(x)
        (gradient,) = torch.autograd.grad(losses.sum(), x)
        return losses.detach(), gradient

    def loss(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.function(x)

    def minimize(self, start: Tensor, iterations: int) -> Minimum:
        search = Search(self.evaluate, start)
        return run(search, ConjugateGradients(search), self.evaluate, self.loss, iterations)


def quadratic(n: int, condition: float, seed: int = 0) -> tuple[Function, Tensor]:
    """Half x H x - b x and its minimum."""
    generator = np.random.default_rng(seed)
    q, _ = np.linalg.qr(generator.normal(size=(n, n)))
    matrix = (q * np.geomspace(1, condition, n)) @ q.T
    b = generator.normal(size=n)
    h, right = torch.from_numpy(matrix), torch.from_numpy(b)
    return (
        lambda x: 0.5 * ((x @ h) * x).sum(1) - x @ right,
        torch.from_numpy(np.linalg.solve(matrix, b)),
    )


def rosenbrock(x: Tensor) -> Tensor:
    """The classic one, (B, 2) to (B,)."""
    return (1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 12), seed=st.integers(0, 1000))
def test_a_quadratic_takes_one_evaluation_more_than_it_has_variables(n: int, seed: int) -> None:
    function, minimum = quadratic(n, 5.0, seed)
    found = Counted(function).minimize(torch.zeros(1, n, dtype=torch.float64), n + 1)
    if found.rollbacks == (0,):
        torch.testing.assert_close(found.x[0], minimum, rtol=0, atol=1e-4)
    else:  # a trial step that was too long costs an evaluation
        more = Counted(function).minimize(torch.zeros(1, n, dtype=torch.float64), 2 * n + 6)
        torch.testing.assert_close(more.x[0], minimum, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n", "condition", "most"), [(20, 100, 45), (50, 1e4, 600)])
def test_an_ill_conditioned_quadratic(n: int, condition: float, most: int) -> None:
    function, minimum = quadratic(n, condition)
    found = Counted(function).minimize(torch.zeros(1, n, dtype=torch.float64), most)
    torch.testing.assert_close(found.x[0], minimum, rtol=0, atol=1e-4)


def test_rosenbrocks_minimum_from_many_starts() -> None:
    start = torch.tensor(
        [[-1.2, 1.0], [0.5, 0.5], [1.3, 1.2], [-1.0, -1.0], [2.0, 2.0], [0.0, 0.0]], dtype=torch.float64
    )
    found = Counted(rosenbrock).minimize(start, 250)
    torch.testing.assert_close(found.x, torch.ones_like(start), rtol=0, atol=2e-4)
