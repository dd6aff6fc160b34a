"""What a worker writes down of a whole level, against runs that were stopped at that step."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tilefarm.geometry import Box
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import AdamSettings, LevelTargets, Picture, SolverSettings, Weights
from tilefarm.solve.measure import measure
from tilefarm.solve.objective import BatchLosses
from tilefarm.solve.recorder import Recorder
from tilefarm.solve.tasks import MeasureTask, Recording, TileTask
from tilefarm.solve.tile import solve_tiles
from tilefarm.targets import picture_moments

Settings = Callable[..., SolverSettings]
MakePicture = Callable[[int, int, int], Picture]
SIDE = 48


def decoded(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        values: NDArray[np.float32] = np.asarray(image).astype(np.float32) / np.float32(255)
    return values


@pytest.mark.parametrize("averaging", [None, 0.0, 0.99])
def test_frames_and_losses_are_those_of_a_run_that_ends_there(
    bundled: Weights, settings: Settings, picture: MakePicture, averaging: float | None
) -> None:
    """With L-BFGS, with Adam, and with Adam whose result is the mean of its points."""
    layers = (("relu1_1", 1.0),)
    chosen = settings(content_layers=layers, style_layers=layers)
    if averaging is not None:
        chosen = replace(chosen, optimizer="adam", adam=AdamSettings(0.1, (0.9, 0.99), averaging))
    network = make_network(chosen, bundled, "cpu")
    image, whole = picture(SIDE, SIDE + 16, 3), Box(0, 0, SIDE + 16, SIDE)
    style = measure(network, chosen, MeasureTask(0, picture(SIDE, SIDE + 16, 50), whole, "style"))
    content = measure(network, chosen, MeasureTask(0, image, whole, "content"))
    styles = picture_moments(style.styles)
    squares = {name: s / content.positions[name] / 64 for name, s in content.squares.items()}
    targets = LevelTargets("test", styles, squares)
    start = np.full_like(image, 0.5)
    inside = Box(8, 4, 40, 36)
    task = TileTask(0, start, image, 7, recording=Recording(3, inside, 1000))

    (told,) = solve_tiles(network, chosen, targets, [task])
    (silent,) = solve_tiles(network, chosen, targets, [replace(task, recording=None)])
    assert np.array_equal(told.image, silent.image)  # looking on changes nothing
    assert (silent.curve, silent.frames) == ((), ())
    assert [step for step, _ in told.frames] == [3, 6]
    assert len(told.curve) == 7
    if not averaging:  # the losses are those of the points, of which the last is not the mean
        assert told.curve[-1] == told.last
    for step, data in told.frames:
        (until,) = solve_tiles(network, chosen, targets, [replace(task, iterations=step, recording=None)])
        expected = np.clip(until.image[4:36, 8:40], 0, 1)
        assert np.abs(decoded(data) - expected).mean() < 0.02
        if not averaging:
            assert told.curve[step - 1].total == pytest.approx(until.last.total, rel=1e-4)
    assert np.abs(decoded(told.frames[0][1]) - decoded(told.frames[1][1])).mean() > 0.002


def losses(total: float) -> BatchLosses:
    value = torch.tensor([total])
    return BatchLosses(value, value, value, value)


def test_a_step_that_was_taken_back_repeats_the_picture_before() -> None:
    recorder = Recorder(Recording(1, Box(0, 0, 16, 16), 8), 4)
    pictures = [torch.full((1, 3, 16, 16), value) for value in (0.2, 0.4, 0.9, 0.6)]
    recorder.evaluated(losses(10))
    stands_at = pictures[0]
    for step, (image, trial, stands) in enumerate(
        [(pictures[1], 8.0, 8.0), (pictures[2], 80.0, 8.0), (pictures[3], 6.0, 6.0)], start=1
    ):
        recorder.evaluated(losses(trial))
        stands_at = image if trial == stands else stands_at
        recorder.stepped(step, stands, lambda: stands_at)  # noqa: B023 (called at once)
    assert [round(point.total) for point in recorder.curve] == [8, 8, 6]
    shown = [decoded(data) for _, data in recorder.frames]
    assert {frame.shape for frame in shown} == {(8, 8, 3)}
    assert [round(float(frame.mean()), 2) for frame in shown] == [0.4, 0.4, 0.6]
