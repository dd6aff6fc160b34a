"""Adam and conjugate gradients on files: the same steps as on tiles, and recovery from any interruption."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilefarm.canvas.vectors import FileVectors
from tilefarm.exact.adam import FileAdam
from tilefarm.exact.cg import FileConjugateGradients
from tilefarm.exact.optimizer import Evaluate, FileOptimizer, is_committed, steps_committed
from tilefarm.plan.cut import Cut
from tilefarm.solve.adam import Adam
from tilefarm.solve.cg import ConjugateGradients
from tilefarm.solve.contract import AdamSettings
from tilefarm.solve.search import Search, run

LENGTH = 3000
VECTORS = FileVectors(Cut.flat(LENGTH))
CURVATURES = np.geomspace(0.02, 5, LENGTH)
ADAM = AdamSettings(0.02, (0.9, 0.99), 0.9)
Vector = NDArray[np.float32]


def loss_and_gradient(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Convex and not quadratic."""
    return float((CURVATURES * (x**2 / 2 + x**4 / 10)).sum()), CURVATURES * (x + x**3 / 2.5)


def evaluate(point: Path, gradient: Path) -> float:
    loss, slope = loss_and_gradient(np.fromfile(point, "<f4").astype(np.float64))
    slope.astype("<f4").tofile(gradient)
    return loss


def start() -> Vector:
    return np.random.default_rng(0).normal(0, 1, LENGTH).astype(np.float32)


def write_memory(gradient: Path, square: Path) -> None:
    np.linspace(-1, 1, LENGTH, dtype="<f4").tofile(gradient)
    np.linspace(0.1, 2, LENGTH, dtype="<f4").tofile(square)


Make = Callable[[Path, Evaluate], FileOptimizer[Any]]
MAKE: dict[str, Make] = {
    "adam": lambda folder, function: FileAdam(folder, VECTORS, ADAM, function, (write_memory, 7)),
    "cg": lambda folder, function: FileConjugateGradients(folder, VECTORS, function),
}


def started(name: str, folder: Path, steps: int, function: Evaluate = evaluate) -> FileOptimizer[Any]:
    optimizer = MAKE[name](folder, function)
    optimizer.start(lambda path: start().tofile(path))
    for _ in range(steps):
        assert optimizer.step()
    return optimizer


def on_tiles(name: str, iterations: int) -> Tensor:
    """The same search by the batch's optimizer, in float32."""
    curvatures = torch.from_numpy(CURVATURES)

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        exact = x.double()
        losses = (curvatures * (exact**2 / 2 + exact**4 / 10)).sum(1)
        return losses, (curvatures * (exact + exact**3 / 2.5)).float()

    search = Search(function, torch.from_numpy(start())[None])
    if name == "adam":
        mean = torch.from_numpy(np.linspace(-1, 1, LENGTH, dtype="<f4"))[None]
        square = torch.from_numpy(np.linspace(0.1, 2, LENGTH, dtype="<f4"))[None]
        method: Adam | ConjugateGradients = Adam(search, ADAM, (mean, square, np.array([7.0])))
    else:
        method = ConjugateGradients(search)
    return run(search, method, function, lambda x: function(x)[0], iterations).x[0]


@pytest.mark.parametrize(("name", "steps"), [("adam", 12), ("cg", 1)])
def test_steps_are_those_of_a_tile(tmp_path: Path, name: str, steps: int) -> None:
    optimizer = started(name, tmp_path / "o", steps)
    found = torch.from_numpy(np.fromfile(optimizer.result, "<f4"))
    torch.testing.assert_close(found, on_tiles(name, steps), rtol=0, atol=1e-5)
    assert steps_committed(tmp_path / "o") == steps


def test_conjugate_gradients_get_as_far_as_on_a_tile(tmp_path: Path) -> None:
    """Not to the same bits: the minimum is far beyond the first trial step, which enlarges its rounding."""
    optimizer = started("cg", tmp_path / "o", 30)
    on_tile, _ = loss_and_gradient(on_tiles("cg", 30).numpy().astype(np.float64))
    assert optimizer.state.losses[-1] == pytest.approx(on_tile, rel=0.5)
    assert optimizer.state.losses[-1] < optimizer.state.losses[0] / 100


def test_adams_average_is_the_weighted_mean_of_its_points(tmp_path: Path) -> None:
    optimizer = MAKE["adam"](tmp_path / "o", evaluate)
    optimizer.start(lambda path: start().tofile(path))
    assert optimizer.result == optimizer.point
    points = []
    for _ in range(9):
        optimizer.step()
        points.append(np.fromfile(optimizer.point, "<f4").astype(np.float64))
    weights = 0.9 ** np.arange(8, -1, -1)
    naive = np.average(points, axis=0, weights=weights)
    np.testing.assert_allclose(np.fromfile(optimizer.result, "<f4"), naive, atol=1e-6)
    assert isinstance(optimizer, FileAdam)
    assert optimizer.state.count == 7 + 10
    assert np.fromfile(optimizer.means[1], "<f4").min() >= 0


def take_steps(optimizer: FileOptimizer[Any], count: int) -> None:
    for _ in range(count):
        optimizer.step()


class Crash(Exception):  # noqa: N818
    pass


def crash_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """Every primitive that writes raises at the `moment`-th call, counted over all of them."""
    from tilefarm.exact import optimizer as protocol

    calls = 0

    def crashing(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == moment:
                raise Crash
            return original(*arguments, **more)

        return call

    for owner, name in (
        (FileVectors, "combine"),
        (FileVectors, "transform"),
        (protocol, "sync_file"),
        (protocol, "write_text"),
    ):
        monkeypatch.setattr(owner, name, crashing(getattr(owner, name)))


@pytest.mark.parametrize("moment", range(1, 19, 2))
@pytest.mark.parametrize("name", MAKE)
def test_a_crash_at_any_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, moment: int
) -> None:
    whole = started(name, tmp_path / "whole", 9)
    broken = started(name, tmp_path / "broken", 5)
    crash_at(monkeypatch, moment)
    with pytest.raises(Crash):
        take_steps(broken, 4)
    monkeypatch.undo()
    again = MAKE[name](tmp_path / "broken", evaluate)
    assert again.resume()
    while again.state.iteration + again.state.rollbacks < 9:
        again.step()
    assert again.state == whole.state
    assert again.result.read_bytes() == whole.result.read_bytes()


@pytest.mark.parametrize("name", MAKE)
def test_steps_taken_back_are_committed_too(tmp_path: Path, name: str) -> None:
    """Stopped after every evaluation and taken up again, failures included: the same bytes."""

    def bad(calls: int) -> Evaluate:
        def function(point: Path, gradient: Path) -> float:
            nonlocal calls
            calls += 1
            loss = evaluate(point, gradient)
            return np.nan if calls in (5, 6) else loss

        return function

    whole = started(name, tmp_path / "whole", 10, bad(0))
    started(name, tmp_path / "parts", 0, bad(0))
    for done in range(1, 11):
        part = MAKE[name](tmp_path / "parts", bad(done))
        assert part.resume()
        assert part.step()
    assert part.state == whole.state
    assert whole.state.rollbacks >= 2
    assert whole.state.iteration + whole.state.rollbacks == 10
    assert part.result.read_bytes() == whole.result.read_bytes()


@pytest.mark.parametrize("name", MAKE)
def test_a_flipped_bit_is_found(tmp_path: Path, name: str) -> None:
    optimizer = started(name, tmp_path / "o", 4)
    assert optimizer.state.checksums
    assert {optimizer.point.name, optimizer.result.name} <= optimizer.state.checksums.keys()
    for file in optimizer.state.checksums:
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "o", copy)
        data = bytearray((copy / file).read_bytes())
        data[100] ^= 4
        (copy / file).write_bytes(data)
        assert not MAKE[name](copy, evaluate).resume(), file
        assert not is_committed(copy)
        shutil.rmtree(copy)
    assert MAKE[name](tmp_path / "o", evaluate).resume()


@pytest.mark.parametrize("name", MAKE)
def test_it_ends_where_no_step_is_good(tmp_path: Path, name: str) -> None:
    calls = 0

    def once(point: Path, gradient: Path) -> float:
        nonlocal calls
        calls += 1
        loss = evaluate(point, gradient)
        return loss if calls == 1 else np.inf

    optimizer = started(name, tmp_path / "o", 0, once)
    steps = 0
    while optimizer.step():
        steps += 1
    assert steps == optimizer.state.rollbacks == 10
    np.testing.assert_array_equal(np.fromfile(optimizer.result, "<f4"), start())
