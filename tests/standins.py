"""Workers for tests of everything around them, and a driver on such a worker to be run as a process.

python tests/standins.py JOB RUNS [--share S] [--log FILE] [--kill-at-event N] [--kill-in-solve N]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import tilefarm
from tilefarm.driver import Opener, render, run_folder
from tilefarm.events import Event
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.open import ExecutorChoice
from tilefarm.execute.process import peak_rss
from tilefarm.execute.protocol import Batch, Keep, Progress, Worker, WorkerInfo
from tilefarm.image.preview import encode_snapshot
from tilefarm.solve.contract import LevelTargets, Losses, SolverSettings, Weights
from tilefarm.solve.tasks import (
    Derivatives,
    LayerSums,
    Measurement,
    MeasureTask,
    MissingState,
    PieceGradient,
    PieceSums,
    PieceTask,
    TileSolution,
    TileTask,
)
from tilefarm.spec.load import load_job

HANG_SECONDS = 60.0


class Mixer:
    """Paints `share` of the content over `1 - share` of the picture, a bit darker or lighter per tile.

    With a share of 1 every tile is exactly its content. The tone of a tile depends on its index and on
    the targets, so that swapped tiles, a round left out or another round's targets are noticed.
    """

    def __init__(self, share: float = 0.5, log: Path | None = None, kill_in_solve: int | None = None) -> None:
        """Each solve adds a line to `log`; number `kill_in_solve`, counted from 1, kills this process."""
        self._share = share
        self._log = log
        self._kill_in_solve = kill_in_solve
        self.solved = 0

    def info(self) -> WorkerInfo:
        return WorkerInfo(
            device="cpu",
            device_name="stand-in",
            gpu_bytes=None,
            threads=1,
            fast_precision="float32",
            process=os.getpid(),
            node="here",
            version=tilefarm.__version__,
            memory_bytes=2**33,
            node_bytes=2**34,
        )

    def solve(
        self, settings: SolverSettings, targets: LevelTargets, batch: Batch
    ) -> tuple[TileSolution, ...]:
        self.solved += 1
        if self._log is not None:
            with self._log.open("ab", buffering=0) as file:
                file.write(f"{batch.tasks[0].index}\n".encode())
        if self.solved == self._kill_in_solve:
            os.kill(os.getpid(), signal.SIGKILL)
        return tuple(self._mixed(task, targets) for task in batch.tasks)

    def measure(self, settings: SolverSettings, task: MeasureTask) -> Measurement:
        core = task.crop[task.core.top : task.core.bottom, task.core.left : task.core.right]
        pixels = core.shape[0] * core.shape[1]
        total = float(core.sum(dtype=np.float64))
        style = {
            name: LayerSums(np.array([float(pixels)]), np.zeros((1, 2)), np.full((1, 2, 2), total))
            for name, _ in settings.style_layers
        }
        content = {name: total for name, _ in settings.content_layers}
        return Measurement(
            index=task.index,
            positions=dict.fromkeys([*style, *content], pixels),
            styles=style if task.kind == "style" else {},
            squares=content if task.kind == "content" else {},
            seconds=0.0,
        )

    def piece_sums(self, settings: SolverSettings, keep: Keep, task: PieceTask) -> PieceSums | MissingState:
        raise NotImplementedError("the exact method needs a network")

    def piece_gradient(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, task: PieceTask
    ) -> PieceGradient | MissingState:
        raise NotImplementedError("the exact method needs a network")

    def progress(self) -> Progress | None:
        return None

    def peak_rss(self) -> int:
        return peak_rss()

    def _mixed(self, task: TileTask, targets: LevelTargets) -> TileSolution:
        image: NDArray[np.float32] = task.content
        if self._share != 1:
            aims = [*targets.styles.values(), *targets.pictures.values()]
            tone = (task.index % 5 - 2) * 0.002 * sum(float(aim.products[0, 0, 0]) for aim in aims)
            mixed = (1 - self._share) * task.image + self._share * task.content + tone
            image = mixed.astype(np.float32)
        difference = float(np.mean((image - task.content) ** 2))
        curve, frames = _recorded(task, image)
        return TileSolution(
            index=task.index,
            image=image,
            first=Losses(2 + difference, 1.0, 1.0, 0.0),
            last=Losses(1 + difference, 0.5, 0.5, 0.0),
            iterations=task.iterations,
            rollbacks=0,
            seconds=0.001,
            curve=curve,
            frames=frames,
        )


def _recorded(
    task: TileTask, end: NDArray[np.float32]
) -> tuple[tuple[Losses, ...], tuple[tuple[int, bytes], ...]]:
    """On a straight way from the task's picture to the end; nothing where no snapshots are asked for."""
    recording = task.recording
    if recording is None or not recording.every:
        return (), ()
    box, frames = recording.inside, []
    for step in range(recording.every, task.iterations, recording.every):
        share = np.float32(step / task.iterations)
        picture = ((1 - share) * task.image + share * end)[box.top : box.bottom, box.left : box.right]
        frames.append((step, encode_snapshot(picture, recording.long_side)))
    curve = tuple(Losses(2 - step / 10**4, 1.0, 0.5, 0.0) for step in range(1, task.iterations + 1))
    return curve, tuple(frames)


class Troubled:
    """Another worker, with the trouble that it finds in a folder: one file is one mishap.

    `fail-TILE-N`: the solve of that tile raises, and the file is gone. `spoil-TILE-N`: one value of its
    solution is not a number, and the file is gone. `hang-TILE`: the solve writes
    `hanging-TILE` with its process id and waits to be killed.
    """

    def __init__(self, worker: Worker, folder: Path) -> None:
        self._worker = worker
        self._folder = folder
        self.info = worker.info
        self.measure = worker.measure
        self.piece_sums = worker.piece_sums
        self.piece_gradient = worker.piece_gradient
        self.progress = worker.progress
        self.peak_rss = worker.peak_rss

    def solve(
        self, settings: SolverSettings, targets: LevelTargets, batch: Batch
    ) -> tuple[TileSolution, ...]:
        for task in batch.tasks:
            for mishap in sorted(self._folder.glob(f"fail-{task.index}-*")):
                mishap.unlink()
                raise RuntimeError(f"mishap {mishap.name}")
            if (hang := self._folder / f"hang-{task.index}").exists():
                hang.unlink()
                (self._folder / f"hanging-{task.index}").write_text(str(os.getpid()))
                time.sleep(HANG_SECONDS)
                raise RuntimeError("nobody killed this worker")
        solutions = self._worker.solve(settings, targets, batch)
        for solution in solutions:
            for mishap in sorted(self._folder.glob(f"spoil-{solution.index}-*"))[:1]:
                mishap.unlink()
                solution.image[-1, -1, -1] = np.nan
        return solutions


def make_troubled(folder: Path) -> Callable[[Weights, str, int], Worker]:
    """`make_worker` of real workers with trouble from a folder."""

    def make(weights: Weights, device: str, threads: int) -> Worker:
        from tilefarm.execute.worker import TileWorker

        return Troubled(TileWorker(weights, device, threads), folder)

    return make


def opener(worker: Worker) -> Opener:
    """For `driver.render`: this worker, in this process."""
    return lambda weights, most: LocalExecutor(worker)


def main() -> None:
    """Render one job with a Mixer, and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--kill-at-event", type=int)
    parser.add_argument("--kill-in-solve", type=int)
    options = parser.parse_args()
    events = 0

    def listen(event: Event) -> None:
        nonlocal events
        events += 1
        if events == options.kill_at_event:
            os.kill(os.getpid(), signal.SIGKILL)

    job = load_job(options.job)
    worker = Mixer(options.share, options.log, options.kill_in_solve)
    render(job, run_folder(job, options.runs), ExecutorChoice("local"), listen, opener(worker))
    heavy = sorted({"torch", "ray"} & set(sys.modules))
    print(json.dumps({"peak_rss": peak_rss(), "events": events, "solved": worker.solved, "heavy": heavy}))


if __name__ == "__main__":
    main()
