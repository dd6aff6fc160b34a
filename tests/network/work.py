"""A job that is small and yet real: smooth noise, a real network with random weights, either method."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import safetensors.numpy
from PIL import Image

from tests.exactness import smooth_picture
from tests.network.clusters import ROOT
from tilefarm.spec.networks import convolutions

METHODS = {
    "feathered": (
        "method: feathered\npyramid: {smallest: 64, iterations: [3]}\n"
        "tiles: {size: 64, rounds: 2, iterations: 6}\n"
    ),
    "exact": "method: exact\npyramid: {smallest: 64, iterations: [3, 30]}\ntiles: {size: 64}\n",
}
METHODS["vectors"] = METHODS["exact"]
"""With the optimizer's vectors at the workers."""
OUTPUT = "painted.png"
SIZE = (112, 84)


def write_job(folder: Path, method: str) -> Path:
    """A job file with its pictures and weights (3 MB, SqueezeNet) in `folder`, of two levels."""
    folder.mkdir(parents=True)
    for name, seed in (("content", 4), ("style", 5)):
        pixels = np.clip(smooth_picture(*SIZE, seed) * 255, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    generator = np.random.default_rng(3)
    arrays = {}
    for part in convolutions("squeezenet"):
        scale = np.float32((2 / (part.kernel**2 * part.channels_in)) ** 0.5)
        arrays[f"{part.name}.weight"] = generator.standard_normal(part.shape, np.float32) * scale
        arrays[f"{part.name}.bias"] = generator.standard_normal(part.channels_out, np.float32) * 0.1
    safetensors.numpy.save_file(arrays, folder / "weights.safetensors")
    place = "workers" if method == "vectors" else "driver"
    job = folder / "job.yaml"
    job.write_text(
        f"content: content.png\nstyle: style.png\noutput: {{path: {OUTPUT}}}\n"
        "network: {name: squeezenet, weights: weights.safetensors, preprocessing: caffe}\n"
        "objective: {content_layers: {fire3: 1}, style_layers: {relu1: 1, fire2: 1, fire4: 1}}\n"
        f"compute: {{precision: float32, device: cpu, vectors: {place}}}\n{METHODS[method]}"
    )
    return job


def painted_alone(job: Path) -> bytes:
    """The file that this machine makes of the job by itself, without Ray."""
    one_core = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    program = f"{one_core}; from tilefarm.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", program, "submit", job, "--executor", "local"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return (job.parent / OUTPUT).read_bytes()
