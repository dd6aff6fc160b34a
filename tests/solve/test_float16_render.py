"""A whole job in float16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.exactness import smooth_picture
from tilefarm.driver import render, run_folder
from tilefarm.events import Event, RoundFinished, RunStarted
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.open import ExecutorChoice
from tilefarm.execute.worker import TileWorker
from tilefarm.solve.contract import Weights
from tilefarm.spec.load import load_job


def test_a_render_in_float16_is_near_the_one_in_float32(bundled: Weights, tmp_path: Path) -> None:
    """The first level is solved whole, as a tile; the second one in pieces."""
    for name, seed in (("content", 4), ("style", 5)):
        pixels = np.clip(smooth_picture(128, 64, seed) * 255, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "job.yaml").write_text(
        "content: content.png\nstyle: style.png\noutput: {path: out.png, width: 128}\n"
        "objective: {content_layers: {relu1_2: 1}, style_layers: {relu1_1: 1}}\n"
        "pyramid: {smallest: 64, iterations: [2, 6]}\ntiles: {size: 96}\n"
    )
    low, found = rendered(tmp_path, bundled, "float16")
    high, wanted = rendered(tmp_path, bundled, "float32")
    assert len(found) == 2
    for level, reference in zip(found, wanted, strict=True):
        assert level.loss_last < level.loss_first / 2
        assert level.loss_last == pytest.approx(reference.loss_last, rel=0.1)
    assert float(np.abs(low - high).mean()) < 2
    assert float(low.std()) > 20, "not a black picture"


def rendered(
    folder: Path, weights: Weights, precision: str
) -> tuple[NDArray[np.float64], list[RoundFinished]]:
    """The output in 0..255, and what became of the levels."""
    job = load_job(folder / "job.yaml", [f"compute.precision={precision}"])
    events: list[Event] = []
    worker = LocalExecutor(TileWorker(weights, "cpu", 2))
    run = run_folder(job, folder / "runs")
    render(job, run, ExecutorChoice("local"), events.append, lambda weights, most: worker)
    started = next(event for event in events if isinstance(event, RunStarted))
    assert started.precision == precision
    pixels = np.asarray(Image.open(folder / "out.png"), dtype=np.float64)
    return pixels, [event for event in events if isinstance(event, RoundFinished)]
