"""Luminance alone, by the exact method and real features: grey from the first level to the last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tilefarm.driver import render, run_folder
from tilefarm.events import Event, PiecesProgress, StepTaken
from tilefarm.execute.open import ExecutorChoice
from tilefarm.image.window import open_raw
from tilefarm.prepare import prepare
from tilefarm.spec.load import load_job


@pytest.mark.parametrize("mode", ["luminance", "style"])
def test_a_picture_in_pieces_stays_grey_to_the_bit(tmp_path: Path, mode: str) -> None:
    generator = np.random.default_rng(4)
    for name, size in (("content.png", (75, 100, 3)), ("style.png", (40, 60, 3))):
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / name)
    path = tmp_path / "job.yaml"
    path.write_text(
        "content: content.png\nstyle: style.png\noutput: {path: out.tif}\n"
        "pyramid: {smallest: 64, iterations: [5, 4]}\ntiles: {size: 64}\noptimizer: {history: 3}\n"
        "objective: {content_layers: {relu2_1: 1}, style_layers: {relu1_1: 1, relu2_1: 1}, tv_weight: 1}\n"
        f"compute: {{precision: float32}}\ninit: noise\ncolor: {mode}\n"
    )
    job = load_job(path)
    run = run_folder(job, tmp_path / "runs")
    events: list[Event] = []
    render(job, run, ExecutorChoice("local"), events.append)
    levels = prepare(job).plan.levels
    assert any(isinstance(event, PiecesProgress) and event.doing == "evaluating" for event in events)
    for level in levels:
        canvas = np.array(open_raw(run.canvas(level.index), level.size))
        assert (canvas == canvas[..., :1]).all() == (mode == "luminance")
    losses = [event.losses.total for event in events if isinstance(event, StepTaken)]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
