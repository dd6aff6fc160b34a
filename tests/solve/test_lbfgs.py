from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tilefarm.solve.contract import LevelTargets, Picture, RegionMoments, SolverSettings, Weights
from tilefarm.solve.lbfgs import minimize
from tilefarm.solve.losses import moments
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import TileObjective
from tilefarm.solve.search import MOST_ROLLBACKS, Minimum, Status
from tilefarm.solve.tolerances import USUAL_LOSS

Function = Callable[[Tensor], Tensor]


def rosenbrock(x: Tensor) -> Tensor:
    """(B, D) to (B,), with 2 in place of 100: in many dimensions full steps then do not explode."""
    return ((1 - x[:, :-1]) ** 2 + 2 * (x[:, 1:] - x[:, :-1] ** 2) ** 2).sum(1)


def steep_rosenbrock(x: Tensor) -> Tensor:
    """The classic one, (B, 2) to (B,)."""
    return (1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2


def bowl(x: Tensor) -> Tensor:
    """An ill-conditioned quadratic."""
    return 0.5 * (x.square() * torch.linspace(1, 50, x.shape[1], dtype=x.dtype)).sum(1)


class Recorder:
    """A function with its gradient that keeps every point at which it was asked."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.points: list[Tensor] = []
        self.last_checked: Tensor | None = None

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.points.append(x.clone())
        x = x.detach().requires_grad_()
        losses = self.function(x)
        (gradient,) = torch.autograd.grad(losses.sum(), x)
        return losses.detach(), gradient

    def loss(self, x: Tensor) -> Tensor:
        self.last_checked = x.clone()
        with torch.no_grad():
            return self.function(x)

    def minimize(self, start: Tensor, iterations: int, history: int) -> Minimum:
        return minimize(self.evaluate, self.loss, start, iterations=iterations, history=history)


def torch_iterates(function: Function, start: Tensor, iterations: int, history: int) -> list[Tensor]:
    """The points of torch.optim.LBFGS from one start (D,), the last one included."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([x], lr=1, max_iter=iterations, max_eval=10**6, history_size=history)
    points: list[Tensor] = []

    def closure() -> float:
        points.append(x.detach().clone())
        optimizer.zero_grad()
        loss = function(x.unsqueeze(0))[0]
        loss.backward()  # type: ignore[no-untyped-call]
        return loss  # type: ignore[return-value]

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    if not torch.equal(points[-1], x.detach()):
        points.append(x.detach().clone())
    return points


def starts(dimension: int) -> Tensor:
    generator = torch.Generator().manual_seed(dimension)
    rows = torch.randn(4, dimension, dtype=torch.float64, generator=generator) * 0.4 + 0.6
    rows[0, :2] = torch.tensor([-1.2, 1.0])
    return rows


@pytest.mark.parametrize("dimension", [2, 10, 5000])
@pytest.mark.parametrize("history", [3, 8])
@pytest.mark.parametrize("function", [rosenbrock, bowl])
def test_iterates_are_those_of_torch(function: Function, dimension: int, history: int) -> None:
    start = starts(dimension)
    recorder = Recorder(function)
    minimum = recorder.minimize(start, 30, history)
    for tile in range(len(start)):
        wanted = torch_iterates(function, start[tile], 30, history)
        found = [points[tile] for points in recorder.points]
        # A tile that stopped early waits at its last point while the others go on.
        assert minimum.iterations[tile] == len(wanted) - 1
        for ours, theirs in zip([*found[: len(wanted) - 1], minimum.x[tile]], wanted, strict=True):
            assert float((ours - theirs).abs().max()) < 1e-6 * max(1.0, float(theirs.abs().max()))


def test_iterates_are_those_of_torch_on_the_classic_rosenbrock() -> None:
    start = torch.tensor([[0.5, 0.5], [1.3, 1.2], [0.9, 1.1]], dtype=torch.float64)
    recorder = Recorder(steep_rosenbrock)
    minimum = recorder.minimize(start, 30, 5)
    for tile in range(len(start)):
        wanted = torch_iterates(steep_rosenbrock, start[tile], 30, 5)
        assert minimum.iterations[tile] == len(wanted) - 1
        for points, theirs in zip(recorder.points, wanted, strict=False):
            assert float((points[tile] - theirs).abs().max()) < 1e-6
        torch.testing.assert_close(minimum.x[tile], torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-4)


def test_iterates_are_those_of_torch_on_a_tile(
    bundled: Weights,
    settings: Callable[..., SolverSettings],
    picture: Callable[[int, int, int], Picture],
) -> None:
    style_layers = (("relu1_1", 1.0), ("relu2_1", 0.5), ("relu3_1", 2.0))
    chosen = settings(style_layers=style_layers, content_layers=(("relu3_2", 1.0),), tv_weight=1.0)
    network = FeatureNetwork("vgg19", bundled, ["relu3_2"], dtype=torch.float64)
    content, style = (
        torch.from_numpy(picture(48, 48, seed)).double().permute(2, 0, 1).unsqueeze(0) for seed in (0, 1)
    )
    features = network.features(style, [name for name, _ in chosen.style_layers])
    styles = {
        name: RegionMoments(*(part[0].numpy() for part in moments(values)[0]))
        for name, values in features.items()
    }
    mean_square = float(network.features(content, ["relu3_2"])["relu3_2"].square().mean())
    targets = LevelTargets("test", styles, {"relu3_2": mean_square})
    objective = TileObjective(network, chosen, targets, content)

    def function(x: Tensor) -> Tensor:
        return objective._losses(x.view(1, 3, 48, 48)).total

    recorder = Recorder(function)
    minimum = recorder.minimize(content.flatten(1), 31, 9)
    wanted = torch_iterates(function, content.flatten(), 31, 9)
    assert len(wanted) == 32
    for ours, theirs in zip([*(p[0] for p in recorder.points), minimum.x[0]], wanted, strict=True):
        assert float((ours - theirs).abs().max()) < 1e-6
    assert minimum.last[0] < 0.5 * minimum.first[0]


@pytest.mark.parametrize("power", [-20, -40, -60])
@pytest.mark.parametrize("function", [rosenbrock, bowl])
def test_the_unit_of_a_small_loss_changes_nothing(function: Function, power: int) -> None:
    """Times a power of 2, which rounds nothing: the points are the same to the last bit."""
    start = starts(5000)
    below = 0.5 * USUAL_LOSS * 5000 / float(function(start).max())
    small, smaller = (
        Recorder(lambda x, factor=factor: factor * function(x))  # type: ignore[misc]
        for factor in (below, below * 2.0**power)
    )
    one, other = small.minimize(start, 15, 5), smaller.minimize(start, 15, 5)
    assert torch.equal(one.x, other.x)
    assert one.status == other.status
    assert (one.last < 0.2 * one.first).all()


def test_neighbours_do_not_influence_one_another() -> None:
    start = starts(5000)
    together = Recorder(rosenbrock).minimize(start, 20, 5)
    others = start.clone()
    others[1:] *= -0.3
    assert torch.equal(Recorder(rosenbrock).minimize(others, 20, 5).x[0], together.x[0])
    alone = Recorder(rosenbrock).minimize(start[:1], 20, 5)
    torch.testing.assert_close(alone.x[0], together.x[0], rtol=0, atol=1e-9)


def test_each_tile_stops_by_its_own_rules() -> None:
    start = torch.zeros(3, 4, dtype=torch.float64)
    start[1] = torch.tensor([1.0, -2.0, 3.0, 0.5])
    start[2] = 1e-8
    recorder = Recorder(bowl)
    minimum = recorder.minimize(start, 200, 10)
    assert minimum.status[0] is Status.SMALL_GRADIENT
    assert minimum.iterations[0] == 0
    assert minimum.status[1] is not Status.ITERATIONS
    assert 4 < minimum.iterations[1] == len(torch_iterates(bowl, start[1], 200, 10)) - 1
    assert len(torch_iterates(bowl, start[2], 200, 10)) == 1, "torch takes it for flat"
    assert minimum.iterations[2] > 0, "its loss is not zero, so small by its unit alone"
    assert torch.equal(minimum.x[0], start[0])
    assert len(recorder.points) == minimum.iterations[1] + 1, "nothing is evaluated once all have ended"


def test_a_linear_function_keeps_no_pairs() -> None:
    """Its gradient never changes, so s . y is 0: storing that pair would divide by zero."""
    minimum = Recorder(lambda x: x.sum(1)).minimize(torch.zeros(1, 3, dtype=torch.float64), 5, 3)
    wanted = torch_iterates(lambda x: x.sum(1), torch.zeros(3, dtype=torch.float64), 5, 3)
    torch.testing.assert_close(minimum.x[0], wanted[-1], rtol=0, atol=1e-12)
    assert minimum.iterations == (5,)


class Faulty(Recorder):
    """Returns NaN for one tile at some calls, in the loss or in the gradient only."""

    def __init__(self, function: Function, tile: int, calls: set[int], where: str = "loss") -> None:
        super().__init__(function)
        self.tile, self.calls, self.where = tile, calls, where

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = super().evaluate(x)
        if len(self.points) - 1 in self.calls:
            (loss if self.where == "loss" else gradient[:, 1])[self.tile] = torch.nan
        return loss, gradient


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_to_nowhere_is_taken_back_and_tried_at_a_tenth(where: str) -> None:
    start = starts(10)
    healthy = Recorder(rosenbrock)
    expected = healthy.minimize(start, 12, 5)
    faulty = Faulty(rosenbrock, 1, {4, 5}, where)
    minimum = faulty.minimize(start, 12, 5)
    assert minimum.rollbacks == (0, 2, 0, 0)
    assert minimum.iterations == (12, 10, 12, 12)
    for tile in (0, 2, 3):
        assert torch.equal(minimum.x[tile], expected.x[tile])
    good = healthy.points[3][1]
    step = healthy.points[4][1] - good
    for call, factor in ((4, 1.0), (5, 0.1), (6, 0.01)):
        torch.testing.assert_close(faulty.points[call][1], good + factor * step, rtol=0, atol=1e-14)
    assert bool(torch.isfinite(minimum.x).all())
    assert np.isfinite(minimum.last).all()
    assert minimum.last[1] < minimum.first[1]


def test_a_tile_that_cannot_go_on_stays_at_its_last_good_point() -> None:
    start = starts(10)
    faulty = Faulty(rosenbrock, 2, set(range(3, 100)))
    minimum = faulty.minimize(start, 15, 5)
    assert minimum.status[2] is Status.ROLLBACKS
    assert minimum.iterations[0] == 15
    assert faulty.last_checked is not None
    assert torch.equal(faulty.last_checked, minimum.x), "the last check is where every tile stands"
    assert minimum.rollbacks[2] == MOST_ROLLBACKS
    assert minimum.iterations[2] == 2
    assert torch.equal(minimum.x[2], faulty.points[2][2])
    assert minimum.last[2] == float(rosenbrock(minimum.x)[2])


def test_a_start_without_a_finite_loss_has_failed() -> None:
    minimum = Faulty(rosenbrock, 0, {0}).minimize(starts(3), 5, 5)
    assert minimum.status[0] is Status.FAILED
    assert minimum.iterations == (0, 5, 5, 5)


def test_the_last_point_is_checked_and_taken_back() -> None:
    """The last step is so long that the loss overflows: only the forward pass at the end can see it."""
    start = starts(10)
    before = Recorder(rosenbrock).minimize(start, 5, 5)
    recorder = Recorder(rosenbrock)
    calls = []

    def loss(x: Tensor) -> Tensor:
        losses = recorder.loss(x)
        calls.append(x.clone())
        if len(calls) == 1:
            losses[3] = torch.inf
        return losses

    minimum = minimize(recorder.evaluate, loss, start, iterations=6, history=5)
    assert minimum.rollbacks == (0, 0, 0, 1)
    assert minimum.iterations == (6, 6, 6, 5)
    assert torch.equal(minimum.x[3], before.x[3])
    assert torch.equal(calls[-1], minimum.x), "the last check is at the returned point"
    np.testing.assert_array_equal(minimum.last, rosenbrock(minimum.x).numpy())


def test_progress_is_reported_and_no_iterations_leave_the_start() -> None:
    seen: list[tuple[int, float]] = []
    recorder = Recorder(bowl)
    minimum = minimize(
        recorder.evaluate,
        recorder.loss,
        starts(4),
        iterations=3,
        history=2,
        callback=lambda iteration, losses: seen.append((iteration, float(losses[0]))),
    )
    assert [iteration for iteration, _ in seen] == [1, 2, 3]
    assert seen[-1][1] == minimum.last[0]
    still = Recorder(bowl).minimize(starts(4), 0, 2)
    assert torch.equal(still.x, starts(4))
    np.testing.assert_array_equal(still.first, still.last)


def test_an_exploding_step_is_taken_back_and_only_for_its_own_tile() -> None:
    start = torch.tensor([[3.0, 1.0], [2.0, 2.0]], dtype=torch.float64)

    def evaluate(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cliff = torch.where(
            x[:, 0] < 2.5, 1e6, 0.0
        )  # below 2.5 the first tile falls off; the second is there
        cliff = torch.stack([cliff[0], torch.zeros((), dtype=x.dtype)])
        return (x**2).sum(dim=1) + cliff, 2 * x

    free = minimize(evaluate, lambda x: evaluate(x)[0], start, iterations=4, history=3)
    held = minimize(evaluate, lambda x: evaluate(x)[0], start, iterations=4, history=3, largest_increase=2.0)
    assert free.last[0] > 1e5
    assert free.rollbacks == (0, 0)
    assert held.last[0] < held.first[0]
    assert held.rollbacks[0] > 0
    assert held.rollbacks[1] == 0
    np.testing.assert_array_equal(held.x[1].numpy(), free.x[1].numpy())
