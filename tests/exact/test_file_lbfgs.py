"""L-BFGS on files against torch.optim.LBFGS, and its recovery from every kind of interruption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tilefarm.canvas.vectors import FileVectors
from tilefarm.errors import TilefarmError
from tilefarm.exact.lbfgs import FileLbfgs
from tilefarm.exact.optimizer import Evaluate
from tilefarm.plan.cut import Cut
from tilefarm.sealed import opened_json, sealed_json
from tilefarm.solve.traffic import Traffic

Vector = NDArray[np.float64]
LENGTH = 5000
CURVATURES = np.geomspace(0.2, 5, LENGTH)


def loss_and_gradient(x: Vector) -> tuple[float, Vector]:
    """A convex function that is not quadratic, so that history matters."""
    return (
        float((CURVATURES * (x**2 / 2 + x**4 / 100)).sum()),
        CURVATURES * (x + x**3 / 25),
    )


def evaluate(point: Path, gradient: Path) -> float:
    loss, slope = loss_and_gradient(np.fromfile(point, "<f4").astype(np.float64))
    slope.astype("<f4").tofile(gradient)
    return loss


def start() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, LENGTH).astype(np.float32)


def write_start(path: Path) -> None:
    start().tofile(path)


def make(folder: Path, function: Evaluate = evaluate) -> FileLbfgs:
    """Without a useful limit on the loss, like torch: a step may go up."""
    return FileLbfgs(folder, FileVectors(Cut.flat(LENGTH)), 6, function, largest_increase=1e6)


def run(folder: Path, steps: int) -> FileLbfgs:
    optimizer = make(folder)
    optimizer.start(write_start)
    for _ in range(steps):
        assert optimizer.step()
    return optimizer


def torch_losses(steps: int, history: int) -> list[float]:
    x = torch.tensor(start(), dtype=torch.float64, requires_grad=True)
    losses: list[float] = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (torch.from_numpy(CURVATURES) * (x**2 / 2 + x**4 / 100)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss.detach()))
        return loss

    optimizer = torch.optim.LBFGS([x], lr=1, max_iter=steps + 1, max_eval=steps + 1, history_size=history)
    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return losses


def test_losses_are_those_of_torch_with_a_history_that_wraps(tmp_path: Path) -> None:
    optimizer = run(tmp_path / "o", 20)
    wanted = torch_losses(20, 6)
    assert len(optimizer.state.losses) == 21
    assert optimizer.state.losses == pytest.approx(wanted, rel=2e-3)
    assert optimizer.state.losses[-1] < optimizer.state.losses[0] / 100


@pytest.mark.parametrize("factor", [2.0**-25, 2.0**-40])
def test_the_unit_of_a_small_loss_changes_nothing(tmp_path: Path, factor: float) -> None:
    """torch.optim.LBFGS would stop at the start."""

    def times(unit: float) -> Evaluate:
        def scaled(point: Path, gradient: Path) -> float:
            loss, slope = loss_and_gradient(np.fromfile(point, "<f4").astype(np.float64))
            (unit * slope).astype("<f4").tofile(gradient)
            return unit * loss

        return scaled

    found = []
    for name, unit in (("small", 2.0**-17), ("smaller", factor)):
        optimizer = make(tmp_path / name, times(unit))
        optimizer.start(write_start)
        for _ in range(12):
            assert optimizer.step()
        found.append(([loss / unit for loss in optimizer.state.losses], optimizer.point.read_bytes()))
    assert found[0] == found[1]
    assert found[0][0][-1] < 0.01 * found[0][0][0]


def test_a_resumed_optimizer_goes_on_with_its_history(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 15)
    run(tmp_path / "halves", 9)
    second = make(tmp_path / "halves")
    assert second.resume()
    for _ in range(6):
        second.step()
    assert second.state == whole.state
    assert second.point.read_bytes() == whole.point.read_bytes()


def test_a_state_of_a_version_that_counted_no_traffic_is_taken_up(tmp_path: Path) -> None:
    before = run(tmp_path / "o", 3)
    path = tmp_path / "o" / "state.json"
    record = json.loads(opened_json(path.read_bytes())[0])
    del record["traffic"]
    path.write_text(sealed_json(json.dumps(record)))
    after = make(tmp_path / "o")
    assert after.resume()
    assert after.state == before.state
    after.count_traffic(Traffic(1, 2, 3, 4, 5))
    after.step()
    assert after.state.traffic == Traffic(1, 2, 3, 4, 5)
    again = make(tmp_path / "o")
    assert again.resume()
    assert again.state == after.state


class Crash(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("moment", range(1, 14))
def test_a_crash_at_any_write_repeats_one_iteration_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Every primitive that writes fails once, at its `moment`-th call after step 8."""
    whole = run(tmp_path / "whole", 12)
    broken = run(tmp_path / "broken", 8)
    calls = 0

    def crashing(name: str) -> None:
        import tilefarm.canvas.vectors as vectors_module
        import tilefarm.exact.optimizer as optimizer_module

        owner = vectors_module.FileVectors if name == "combine" else optimizer_module
        original = getattr(owner, name)

        def call(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == moment:
                raise Crash
            return original(*arguments)

        monkeypatch.setattr(owner, name, call)

    for name in ("combine", "sync_file", "write_text"):
        crashing(name)
    crashed = False
    try:
        for _ in range(4):
            broken.step()
    except Crash:
        crashed = True
    monkeypatch.undo()
    assert crashed
    again = make(tmp_path / "broken")
    assert again.resume()
    while again.state.iteration < 12:
        again.step()
    assert again.state == whole.state
    assert again.point.read_bytes() == whole.point.read_bytes()


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    optimizer = run(tmp_path / "o", 8)
    for path in sorted((tmp_path / "o").glob("*.f32")):
        if path.name not in optimizer.state.checksums:
            continue
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "o", copy)
        data = bytearray((copy / path.name).read_bytes())
        data[100] ^= 4
        (copy / path.name).write_bytes(data)
        assert not make(copy).resume(), path.name
        shutil.rmtree(copy)
    assert make(tmp_path / "o").resume()


def test_a_bit_that_flipped_in_the_state_costs_nothing(tmp_path: Path) -> None:
    undisturbed = run(tmp_path / "whole", 6)
    run(tmp_path / "hit", 5)
    state = tmp_path / "hit" / "state.json"
    whole = state.read_bytes()
    for place in range(0, 8 * len(whole), 37):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        state.write_bytes(damaged)
        assert make(tmp_path / "hit").resume(), place
    resumed = make(tmp_path / "hit")
    assert resumed.resume()
    assert resumed.step()
    assert resumed.state == undisturbed.state
    assert resumed.point.read_bytes() == undisturbed.point.read_bytes()
    state.write_bytes(whole[:100] + bytes(2) + whole[102:])
    assert not make(tmp_path / "hit").resume()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_bad_step_is_shortened_from_the_last_good_point(tmp_path: Path, bad: float) -> None:
    calls = 0

    def sometimes(point: Path, gradient: Path) -> float:
        nonlocal calls
        calls += 1
        loss = evaluate(point, gradient)
        return bad if calls in (5, 6) else loss

    optimizer = make(tmp_path / "o", sometimes)
    optimizer.start(write_start)
    for _ in range(12):
        optimizer.step()
    assert optimizer.state.rollbacks == 2
    assert optimizer.state.iteration == 10
    assert np.isfinite(optimizer.state.losses).all()
    assert optimizer.state.losses[-1] < optimizer.state.losses[0] / 10
    assert np.isfinite(np.fromfile(optimizer.point, "<f4")).all()


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_start_that_is_not_finite_is_an_error(tmp_path: Path, where: str) -> None:
    def broken(point: Path, gradient: Path) -> float:
        loss = evaluate(point, gradient)
        if where == "gradient":
            values = np.fromfile(gradient, "<f4")
            values[3] = np.inf
            values.tofile(gradient)
        return np.nan if where == "loss" else loss

    optimizer = make(tmp_path / "o", broken)
    with pytest.raises(TilefarmError, match="not finite"):
        optimizer.start(write_start)
    assert not make(tmp_path / "o", evaluate).resume(), "nothing was committed"


def test_it_ends_when_no_step_is_good(tmp_path: Path) -> None:
    first = True

    def once(point: Path, gradient: Path) -> float:
        nonlocal first
        loss = evaluate(point, gradient)
        first, good = False, first
        return loss if good else np.nan

    optimizer = make(tmp_path / "o", once)
    optimizer.start(write_start)
    steps = 0
    while optimizer.step():
        steps += 1
    assert steps == optimizer.state.rollbacks == 10
    np.testing.assert_array_equal(np.fromfile(optimizer.point, "<f4"), start())
