"""Whole jobs by other networks, from weights files, under both methods."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from tests.exactness import smooth_picture
from tilefarm.driver import render, run_folder
from tilefarm.events import Event, RoundFinished
from tilefarm.execute.open import ExecutorChoice
from tilefarm.solve.contract import Weights
from tilefarm.spec.load import load_job
from tilefarm.spec.networks import convolutions

LAYERS = {
    "vgg16": "{content_layers: {relu2_2: 1}, style_layers: {relu1_1: 1, relu3_1: 1}}",
    "squeezenet": "{content_layers: {fire3: 1}, style_layers: {relu1: 1, fire4: 1}}",
}


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, random_weights: Callable[[str], Weights]
) -> Iterator[Path]:
    """Pictures, and each network's weights in both namings."""
    folder = tmp_path_factory.mktemp("networks")
    for name, seed in (("content", 4), ("style", 5)):
        pixels = np.clip(smooth_picture(101, 70, seed) * 255, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    for network in LAYERS:
        arrays = random_weights(network).arrays
        theirs = {
            f"{part.torchvision_name}.{kind}": arrays[f"{part.name}.{kind}"]
            for part in convolutions(network)
            for kind in ("weight", "bias")
        }
        safetensors.numpy.save_file(arrays, folder / f"{network}-ours.safetensors")
        safetensors.numpy.save_file(theirs, folder / f"{network}-theirs.safetensors")
    yield folder
    shutil.rmtree(folder)  # 120 MB, which pytest would keep for three sessions


def rendered(folder: Path, network: str, method: str, naming: str, *overrides: str) -> bytes:
    """The pixels of a job of two levels whose finer one is larger than a tile."""
    job_file = folder / f"{network}-{method}-{naming}.yaml"
    job_file.write_text(
        f"content: content.png\nstyle: style.png\noutput: {{path: {job_file.stem}.png}}\nmethod: {method}\n"
        f"network: {{name: {network}, weights: {network}-{naming}.safetensors, preprocessing: caffe}}\n"
        f"objective: {LAYERS[network]}\n"
        "pyramid: {smallest: 64, iterations: [5, 1]}\ntiles: {size: 64, rounds: 1, iterations: 1}\n"
        "compute: {precision: float32}\n"
    )
    job = load_job(job_file, overrides)
    shutil.rmtree(folder / "runs", ignore_errors=True)  # a job that was done before would not be run again
    events: list[Event] = []
    render(job, run_folder(job, folder / "runs"), ExecutorChoice("local"), events.append)
    levels = [event for event in events if isinstance(event, RoundFinished)]
    assert len(levels) == 2
    assert levels[0].loss_last < levels[0].loss_first
    with Image.open(folder / f"{job_file.stem}.png") as image:
        assert image.size == (101, 70)
        pixels: bytes = image.tobytes()
        return pixels


@pytest.mark.parametrize("method", ["exact", "feathered"])
@pytest.mark.parametrize("network", ["vgg16", "squeezenet"])
def test_both_namings_of_a_file_give_the_same_picture(folder: Path, network: str, method: str) -> None:
    first = rendered(folder, network, method, "ours")
    assert first == rendered(folder, network, method, "theirs")


def test_padding_and_pooling_reach_the_workers(folder: Path) -> None:
    plain, other = (
        rendered(folder, "squeezenet", "feathered", "ours", f"network.pooling={pooling}")
        for pooling in ("max", "l2")
    )
    assert plain != other
    plain, other = (
        rendered(folder, "vgg16", "exact", "ours", f"network.padding={padding}")
        for padding in ("zeros", "replicate")
    )
    assert plain != other
