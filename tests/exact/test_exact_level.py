"""A level by the exact method, end to end: killed and resumed, and the same picture in any pieces."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.killed import KILLED
from tilefarm.driver import render, run_folder
from tilefarm.events import Event, PiecesProgress, RoundFinished, StepTaken
from tilefarm.execute.open import ExecutorChoice
from tilefarm.plan.grid import BORDER
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

LOCAL = ExecutorChoice("local")
ITERATIONS = 6


def write_job(folder: Path) -> Path:
    generator = np.random.default_rng(4)
    for name, size in (("content.png", (75, 100, 3)), ("style.png", (40, 60, 3))):
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(folder / name)
    path = folder / "job.yaml"
    path.write_text(
        "content: content.png\nstyle: style.png\noutput: {path: out.tif}\nmethod: exact\n"
        f"pyramid: {{iterations: [{ITERATIONS}]}}\ntiles: {{size: 64}}\noptimizer: {{history: 3}}\n"
        "objective: {content_layers: {relu2_2: 1}, style_layers: {relu1_1: 1, relu2_1: 1}, tv_weight: 1}\n"
        "compute: {precision: float32}\n"
    )
    return path


def go_on(path: Path, *overrides: str) -> tuple[RunDir, list[Event]]:
    job = load_job(path, overrides)
    run = run_folder(job, path.parent / "runs")
    events: list[Event] = []
    render(job, run, LOCAL, events.append)
    return run, events


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Event]]:
    run, events = go_on(write_job(tmp_path_factory.mktemp("undisturbed")))
    return run.canvas(0).read_bytes(), events


def test_the_loss_falls_and_the_optimizer_leaves_nothing_behind(tmp_path: Path) -> None:
    run, events = go_on(write_job(tmp_path))
    (finished,) = [event for event in events if isinstance(event, RoundFinished)]
    assert finished.loss_last < 0.7 * finished.loss_first
    steps = [event for event in events if isinstance(event, StepTaken)]
    assert [step.iteration for step in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1].losses.total == finished.loss_last
    terms = steps[-1].weighted
    assert terms.content + terms.style + terms.tv == pytest.approx(terms.total)
    (level,) = json.loads(run.summary.read_text())["levels"]
    traffic, pixels = level["traffic"], (100 + 2 * BORDER) * (75 + 2 * BORDER)
    assert traffic["evaluations"] == ITERATIONS + 1
    last = steps[-1].traffic
    assert (last.evaluations, last.gradients_back) == (1, traffic["gradients_back"] / (ITERATIONS + 1))
    sent = sum(number for key, number in traffic.items() if key.endswith(("_out", "_back")))
    assert traffic["bytes_per_pixel"] == round(sent / (ITERATIONS + 1) / pixels, 2)
    assert not run.optimizer(0).exists()
    assert (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("kills", [(12,), (40, 25), (75,)])
def test_a_killed_run_ends_in_the_same_picture(
    tmp_path: Path, undisturbed: tuple[bytes, list[Event]], kills: tuple[int, ...]
) -> None:
    canvas, events = undisturbed
    path = write_job(tmp_path)
    for kill in kills:
        process = subprocess.run(
            [sys.executable, "-c", KILLED, path, str(kill)], capture_output=True, text=True, check=False
        )
        assert process.returncode == -signal.SIGKILL, process.stderr
    run, rest = go_on(path)
    assert run.canvas(0).read_bytes() == canvas
    evaluations = sum(isinstance(event, PiecesProgress) for event in events)
    repeated = sum(isinstance(event, PiecesProgress) for event in rest)
    if kills[0] > 30:  # iterations were committed: only what came after them is left to do
        assert repeated < evaluations
    (level,) = json.loads(run.summary.read_text())["levels"]
    assert level["traffic"]["evaluations"] == ITERATIONS + 1


def test_other_pieces_give_the_same_picture(tmp_path: Path, undisturbed: tuple[bytes, list[Event]]) -> None:
    run, _ = go_on(write_job(tmp_path), "tiles.size=80")
    pictures = [np.frombuffer(data, "<f4") for data in (run.canvas(0).read_bytes(), undisturbed[0])]
    assert 255 * np.abs(pictures[0] - pictures[1]).mean() < 0.5


def test_vectors_that_a_killed_driver_left_behind_are_cleared_and_vouch_for_nothing(
    tmp_path: Path, undisturbed: tuple[bytes, list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that dies while it removes the optimizer's folder leaves a whole optimizer behind."""
    path = write_job(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("tilefarm.exact.level.shutil", SimpleNamespace(rmtree=lambda path: None))
        run, _ = go_on(path)
    assert run.optimizer(0).exists()
    (tmp_path / "out.tif").unlink()
    go_on(path)
    assert not run.optimizer(0).exists()
    with monkeypatch.context() as patch:
        patch.setattr("tilefarm.exact.level.shutil", SimpleNamespace(rmtree=lambda path: None))
        shutil.rmtree(run.root)
        go_on(path)
    damaged = bytearray(run.canvas(0).read_bytes())
    damaged[1000] ^= 255
    run.canvas(0).write_bytes(damaged)
    (tmp_path / "out.tif").unlink()
    go_on(path)
    assert run.canvas(0).read_bytes() == undisturbed[0]
