"""The stand-in that tests of the exact method work with is one itself: its gradient is the objective's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.pieces import PieceMixer
from tests.standins import opener
from tilefarm.driver import render, run_folder
from tilefarm.events import Event, StepTaken
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.open import ExecutorChoice
from tilefarm.execute.protocol import Keep
from tilefarm.geometry import Size
from tilefarm.plan.halo import Piece, partition, receptive_field
from tilefarm.solve.contract import LevelTargets, RegionMoments, SolverSettings
from tilefarm.spec.load import load_job

Values = NDArray[np.floating[Any]]
SIZE = Size(70, 50)
SETTINGS = SolverSettings(
    network="vgg19",
    pooling="max",
    precision="float32",
    content_layers=(("relu2_1", 1.0),),
    style_layers=(("relu1_1", 1.0), ("relu2_1", 0.5)),
    content_weight=1.0,
    style_weight=1.0,
    tv_weight=1.0,
    history=5,
)
MOMENTS = RegionMoments(np.full((1, 2), 0.3, np.float32), np.full((1, 2, 2), 0.2, np.float32))
TARGETS = LevelTargets("", {"relu1_1": MOMENTS, "relu2_1": MOMENTS}, {"relu2_1": 0.25})


def cut(core: int) -> list[Piece]:
    return [*partition(SIZE, core, receptive_field("vgg19", "relu2_1"))]


def evaluated(folder: Path, pieces: Sequence[Piece], point: Values, keep: Keep) -> tuple[float, Values]:
    """Loss and gradient (height, width, 3) at a point."""
    noise = np.random.default_rng(1).random((50, 70, 3), dtype=np.float32)
    noise.tofile(folder / "content.f32")
    point.astype(np.float32).tofile(folder / "x.f32")
    picture = WholePicture("level", SIZE, tuple(pieces), folder / "content.f32")
    executor = LocalExecutor(PieceMixer())
    evaluate = WholeEvaluator(executor, SETTINGS, TARGETS, picture, keep, lambda done, total: None)
    for _ in range(2):  # the second one with what was kept
        loss = evaluate(folder / "x.f32", folder / "g.f32")
    return loss, np.fromfile(folder / "g.f32", np.float32).reshape(50, 70, 3)


@pytest.mark.parametrize("keep", [Keep(0, 0), Keep(1, 2), Keep(9, 9)])
def test_the_gradient_is_the_slope_of_the_loss(tmp_path: Path, keep: Keep) -> None:
    generator = np.random.default_rng(2)
    point, way = generator.random((50, 70, 3)), generator.normal(size=(50, 70, 3))
    _, gradient = evaluated(tmp_path, cut(32), point, keep)
    ahead, behind = (evaluated(tmp_path, cut(32), point + step * way, keep)[0] for step in (1e-3, -1e-3))
    assert (ahead - behind) / 2e-3 == pytest.approx(float((gradient * way).sum()), rel=1e-3)


def test_pieces_of_any_size_give_the_same_gradient(tmp_path: Path) -> None:
    point = np.random.default_rng(3).random((50, 70, 3))
    loss, gradient = evaluated(tmp_path, cut(32), point, Keep(0, 0))
    whole_loss, whole = evaluated(tmp_path, cut(128), point, Keep(0, 0))
    assert len(cut(32)) > 1
    assert len(cut(128)) == 1
    assert loss == pytest.approx(whole_loss, rel=1e-12)
    assert np.abs(gradient - whole).max() < 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize("optimizer", ["{name: lbfgs, history: 3}", "{name: adam}", "{name: cg}"])
def test_an_exact_job_on_it_falls(tmp_path: Path, optimizer: str) -> None:
    generator = np.random.default_rng(4)
    for name, size in (("content.png", (120, 160, 3)), ("style.png", (40, 60, 3))):
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / name)
    path = tmp_path / "job.yaml"
    path.write_text(
        "content: content.png\nstyle: style.png\noutput: {path: out.tif}\nmethod: exact\n"
        f"pyramid: {{smallest: 64, iterations: [8]}}\ntiles: {{size: 64}}\noptimizer: {optimizer}\n"
        "objective: {content_layers: {relu2_2: 1}, style_layers: {relu1_1: 1, relu2_1: 1}, tv_weight: 1}\n"
    )
    job, events, worker = load_job(path), list[Event](), PieceMixer()
    run = run_folder(job, tmp_path / "runs")
    render(job, run, ExecutorChoice("local"), events.append, opener(worker))
    steps = [event for event in events if isinstance(event, StepTaken)]
    for level in (0, 1):
        losses = [step.losses.total for step in steps if step.level == level]
        assert losses[-1] < losses[0]
    assert worker.passes >= 2 * 8 * (2 + 6)
