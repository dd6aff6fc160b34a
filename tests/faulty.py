"""Drivers on stand-ins that die where they are told to, as processes: forked from one that has imported all.

python tests/faulty.py, then a line of JSON for each driver to stdin; a line for each comes back.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pieces import PieceMixer
from tests.remembering import Remembering
from tests.standins import Mixer, opener
from tilefarm import driver, faults
from tilefarm.events import Event
from tilefarm.execute.open import ExecutorChoice
from tilefarm.rundir.layout import RunDir
from tilefarm.solve.contract import Weights
from tilefarm.spec.load import load_job

ROOT = Path(__file__).parents[1]
COMMON = (
    "content: content.png\nstyle: style.png\noutput: {path: out.tif}\n"
    "objective: {content_layers: {relu2_2: 1}, style_layers: {relu1_1: 1, relu2_1: 1}}\n"
    "compute: {precision: float32}\n"
)
FILMED = "snapshots: {every: 2, long_side: 64}\nanimation: {path: film.gif, long_side: 64, seconds: 1}\n"
JOBS = {
    "feathered": (
        "method: feathered\npyramid: {smallest: 64, iterations: [4]}\n"
        "tiles: {size: 64, rounds: 2, iterations: 2}\ncolor: content_luma\n" + FILMED
    ),
    "means": (
        "method: feathered\noptimizer: {name: adam}\npyramid: {smallest: 64, iterations: [3]}\n"
        "tiles: {size: 64, rounds: 2, iterations: 2, batch: 2}\n"
    ),
    "exact": "method: exact\npyramid: {smallest: 64, iterations: [4]}\ntiles: {size: 64}\n" + FILMED,
    "exact adam": (
        "method: exact\noptimizer: {name: adam, averaging: 0.9}\n"
        "pyramid: {smallest: 100, iterations: [2]}\ntiles: {size: 64}\n"
    ),
    "exact workers": "method: exact\npyramid: {smallest: 64, iterations: [4]}\ntiles: {size: 64}\n",
    "exact cg": "method: exact\noptimizer: {name: cg}\npyramid: {iterations: [4]}\ntiles: {size: 64}\n",
}
PLACES = {"exact": "driver", "exact workers": "workers"}
"""Where the optimizer's vectors lie."""
WEIGHTS = Weights({}, "caffe", "ab" * 32)


def write_job(folder: Path, kind: str) -> Path:
    """A job of 100x75 pixels in a folder of its own, small enough to be solved in the blink of an eye."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(4)
    for name, shape in (("content.png", (75, 100, 3)), ("style.png", (40, 60, 3))):
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    path = folder / "job.yaml"
    text = COMMON + JOBS[kind]
    if kind == "exact adam":
        text = text.replace("out.tif", "out.tif, width: 200")
    elif kind in PLACES:
        text = text.replace("float32", f"float32, vectors: {PLACES[kind]}")
    elif kind == "means":
        text = text.replace("out.tif", f"out.tif, address: 'file://{folder.absolute()}/sent/out.tif'")
    path.write_text(text)
    return path


def worker_for(kind: str, log: Path | None = None) -> Mixer:
    """The stand-in that the job's method needs."""
    if kind.startswith("exact"):
        return PieceMixer(log=log)
    return Remembering(log) if kind == "means" else Mixer(log=log)


def drive(path: Path, kind: str, events: list[Event] | None = None) -> RunDir:
    """Bring the job to its end in this process."""
    job = load_job(path)
    run = driver.run_folder(job, path.parent / "runs")
    listen = (lambda event: None) if events is None else events.append
    worker = worker_for(kind, path.parent / "solved.log")
    driver.render(job, run, ExecutorChoice("local"), listen, opener(worker))
    return run


@contextmanager
def shortened() -> Iterator[None]:
    """Without a network, and without waiting for the disk: what is killed here keeps what it wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "load_weights", lambda *arguments: WEIGHTS)
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(os, "fdatasync", lambda descriptor: None)
        yield


@dataclass
class Server:
    """The process that drivers are forked from."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls) -> Server:
        return cls(
            subprocess.Popen(
                [sys.executable, __file__],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        )

    def drive(self, path: Path, kind: str, fault: str = "", seconds: float = 0) -> tuple[int, float]:
        """Run a driver and wait for its end: its exit code, negative for a signal, and its processor time.

        `fault` is the order of `tilefarm.faults`; after `seconds` of processor time it is killed wherever
        it is.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {"job": str(path), "kind": kind, "fault": fault, "seconds": seconds}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        code, used = self.process.stdout.readline().split()
        return int(code), float(used)

    def close(self) -> None:
        self.process.communicate()


def _serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _obey(order)
        _, status, used = os.wait4(child, 0)
        print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, flush=True)


def _obey(order: dict[str, str | float]) -> None:
    try:
        if order["fault"]:
            os.environ[faults.VARIABLE] = str(order["fault"])
        # its default action ends the process at once, wherever it is
        signal.setitimer(signal.ITIMER_PROF, float(order["seconds"]))
        with shortened():
            drive(Path(str(order["job"])), str(order["kind"]))
    except BaseException:  # noqa: BLE001 - told, and as an exit code
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    _serve()
