"""Adam against torch.optim.Adam, its averaging against the sum that it stands for, and its memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from tilefarm.solve.adam import Adam
from tilefarm.solve.contract import AdamSettings
from tilefarm.solve.means import share
from tilefarm.solve.search import MOST_ROLLBACKS, Minimum, Numbers, Search, Status, run

Function = Callable[[Tensor], Tensor]
Memory = tuple[Tensor, Tensor, Numbers]


def rosenbrock(x: Tensor) -> Tensor:
    """(B, D) to (B,)."""
    return ((1 - x[:, :-1]) ** 2 + 2 * (x[:, 1:] - x[:, :-1] ** 2) ** 2).sum(1)


class Asked:
    """A function with its gradient that keeps every point at which it was asked, and can spoil answers."""

    def __init__(self, function: Function, bad: frozenset[int] = frozenset()) -> None:
        self.function, self.bad = function, bad
        self.points: list[Tensor] = []

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.points.append(x.clone())
        x = x.detach().requires_grad_()
        losses = self.function(x)
        (gradient,) = torch.autograd.grad(losses.sum(), x)
        losses = losses.detach()
        if len(self.points) - 1 in self.bad:
            losses[0] = torch.nan
        return losses, gradient

    def loss(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.function(x)

    def minimize(
        self, start: Tensor, iterations: int, settings: AdamSettings, memory: Memory | None = None
    ) -> tuple[Minimum, Adam]:
        search = Search(self.evaluate, start)
        method = Adam(search, settings, memory)
        return run(search, method, self.evaluate, self.loss, iterations), method


def start(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(3, 50, dtype=dtype, generator=torch.Generator().manual_seed(1)) * 0.3 + 0.5


def torch_iterates(
    x0: Tensor, steps: int, betas: tuple[float, float]
) -> tuple[list[Tensor], torch.optim.Adam]:
    x = x0.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.02, betas=betas)
    points = []
    for _ in range(steps):
        optimizer.zero_grad()
        rosenbrock(x).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        points.append(x.detach().clone())
    return points, optimizer


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.5, 0.999)])
def test_iterates_and_means_are_those_of_torch(
    betas: tuple[float, float], dtype: torch.dtype, tolerance: float
) -> None:
    asked = Asked(rosenbrock)
    found, method = asked.minimize(start(dtype), 40, AdamSettings(0.02, betas, 0.0))
    wanted, optimizer = torch_iterates(start(dtype), 40, betas)
    for ours, theirs in zip([*asked.points[1:], found.x], wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
    (state,) = optimizer.state.values()
    # Where the mean gradient changes its sign, it is known no better than the iterates.
    for ours, theirs, beta in (
        (method.mean, state["exp_avg"], betas[0]),
        (method.square, state["exp_avg_sq"], betas[1]),
    ):
        torch.testing.assert_close(ours, theirs / (1 - beta**40), rtol=1e-3, atol=20 * tolerance)
    assert found.iterations == (40, 40, 40)
    assert (found.last < found.first).all()


@pytest.mark.parametrize("averaging", [0.5, 0.99])
def test_the_result_is_the_weighted_mean_of_the_iterates(averaging: float) -> None:
    asked = Asked(rosenbrock)
    found, _ = asked.minimize(start(torch.float64), 30, AdamSettings(0.02, (0.9, 0.99), averaging))
    points, _ = torch_iterates(start(torch.float64), 30, (0.9, 0.99))
    weights = averaging ** np.arange(29, -1, -1)
    naive = sum(w * p for w, p in zip(weights / weights.sum(), points, strict=True))
    assert isinstance(naive, Tensor)
    torch.testing.assert_close(found.x, naive, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.last, rosenbrock(found.x).numpy(), rtol=1e-12)


@hypothesis_settings(deadline=None)
@given(st.floats(0, 0.9999), st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30))
def test_a_mean_without_bias_is_algorithm_1_s(decay: float, values: list[float]) -> None:
    biased, mean = 0.0, 0.0
    for count, value in enumerate(values, 1):
        biased = decay * biased + (1 - decay) * value
        weight = share(decay, count)
        mean = (1 - weight) * mean + weight * value
        assert mean == pytest.approx(biased / (1 - decay**count), rel=1e-6, abs=1e-6)


def test_a_search_in_two_halves_that_hands_its_means_on_is_the_whole_one() -> None:
    settings = AdamSettings(0.02, (0.9, 0.99), 0.0)
    whole, _ = Asked(rosenbrock).minimize(start(torch.float64), 30, settings)
    first, method = Asked(rosenbrock).minimize(start(torch.float64), 12, settings)
    memory = (method.mean, method.square, method.count)
    assert method.count.tolist() == [12, 12, 12]
    second, _ = Asked(rosenbrock).minimize(first.x, 18, settings, memory)
    torch.testing.assert_close(second.x, whole.x, rtol=0, atol=1e-12)


def test_a_step_to_nowhere_is_taken_back_with_the_means_as_they_were() -> None:
    settings = AdamSettings(0.02, (0.9, 0.99), 0.9)
    healthy, faulty = Asked(rosenbrock), Asked(rosenbrock, frozenset({4, 5}))
    expected, _ = healthy.minimize(start(), 12, settings)
    found, _ = faulty.minimize(start(), 12, settings)
    assert found.rollbacks == (2, 0, 0)
    assert found.iterations == (10, 12, 12)
    assert torch.equal(found.x[1:], expected.x[1:])
    good = healthy.points[3][0]
    step = healthy.points[4][0] - good
    for call, factor in ((5, 0.1), (6, 0.01)):
        torch.testing.assert_close(faulty.points[call][0], good + factor * step, rtol=0, atol=1e-6)
    assert np.isfinite(found.last).all()


def test_a_tile_that_cannot_go_on_ends_and_one_that_never_moved_stays() -> None:
    faulty = Asked(rosenbrock, frozenset(range(1, 99)))
    found, _ = faulty.minimize(start(), 15, AdamSettings(0.02, (0.9, 0.99), 0.99))
    assert found.status[0] is Status.ROLLBACKS
    assert found.rollbacks == (MOST_ROLLBACKS, 0, 0)
    assert torch.equal(found.x[0], start()[0])


def test_no_value_moves_further_than_the_bound() -> None:
    """A single large gradient after small ones is the worst case (section 2.1)."""
    jump = torch.full((1, 4), 1e-3, dtype=torch.float64)
    jumps = [1e-6] * 5 + [1e6] + [1e-6] * 5
    points: list[Tensor] = []

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        points.append(x.clone())
        return torch.zeros(1, dtype=x.dtype), torch.full_like(x, jumps[len(points) - 1])

    settings = AdamSettings(0.02, (0.5, 0.99), 0.0)
    search = Search(evaluate, jump)
    run(search, Adam(search, settings), evaluate, lambda x: torch.zeros(1), 11)
    moves = [float((b - a).abs().max()) for a, b in itertools.pairwise(points)]
    assert 0.021 < max(moves) <= 0.02 * 0.5 / 0.01**0.5 + 1e-9
