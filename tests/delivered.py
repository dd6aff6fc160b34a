"""A folder with a small job, and the program on a stand-in worker, for tests of finished files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import tilefarm.driver
from tests.standins import Mixer
from tilefarm.execute.local import LocalExecutor
from tilefarm.geometry import Size
from tilefarm.image.window import open_raw
from tilefarm.rundir.layout import RunDir
from tilefarm.solve.contract import Weights

SIZE = Size(120, 90)
QUICK = "method: feathered\npyramid: {smallest: 64}\ntiles: {size: 64, rounds: 1}\n"


def write_job(folder: Path, output: str = "path: out.tif", more: str = "") -> Path:
    """Two pictures and a job file in a folder."""
    generator = np.random.default_rng(4)
    coarse = generator.integers(0, 256, (10, 14, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((SIZE.width, SIZE.height), Image.Resampling.BICUBIC)
    photo.save(folder / "photo.png")
    Image.fromarray(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / "night.png")
    path = folder / "gate.yaml"
    path.write_text(f"content: photo.png\nstyle: night.png\noutput: {{{output}}}\n{QUICK}{more}")
    return path


def on_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering in this process needs no network."""
    monkeypatch.setattr(tilefarm.driver, "open_executor", lambda *_: LocalExecutor(Mixer()))
    monkeypatch.setattr(tilefarm.driver, "load_weights", lambda *_: Weights({}, "caffe", "0" * 64))


def only_run(folder: Path) -> RunDir:
    """The one run in runs/."""
    [root] = (path for path in (folder / "runs").iterdir() if (path / "job.yaml").exists())
    return RunDir(root)


def canvas(run: RunDir, level: int, size: Size) -> NDArray[np.float32]:
    """A level's canvas, shape (height, width, 3)."""
    return np.array(open_raw(run.canvas(level), size))


def exiftool(path: Path, *options: str) -> str:
    """What exiftool prints."""
    done = subprocess.run(["exiftool", *options, str(path)], capture_output=True, text=True, check=True)
    return done.stdout
