"""A farm file of this machine: what can be timed here is, for one job."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tilefarm.calibrate import Calibration, time_tile
from tilefarm.canvas.vectors import FileVectors
from tilefarm.errors import JobError
from tilefarm.execute.open import ExecutorChoice, open_executor
from tilefarm.execute.process import free_memory
from tilefarm.files import checksum, sync_file, write_text
from tilefarm.image.mirror import write_view
from tilefarm.plan.cut import Cut
from tilefarm.prepare import Prepared, estimate, most_workers
from tilefarm.simulate.job_work import EXTRA_STEPS
from tilefarm.simulate.time_pieces import time_pieces
from tilefarm.solve.weights import load_weights
from tilefarm.spec.yaml_writer import write_yaml

VALUES = 2**23
"""Of each vector that is timed: 32 MiB."""
_VECTORS = 4
_MOST_PIXELS = 2 * 10**6


def write_this_machine(path: Path, prepared: Prepared) -> None:
    """Time the workers, the disk, vectors and pictures, and write the farm file.

    Raises JobError where the file is there already.
    """
    if path.exists():
        raise JobError(f"{path} exists already; name another file, or remove it")
    node = {"name": "this-machine", **_time_workers(prepared)}
    with tempfile.TemporaryDirectory(dir=_folder(prepared)) as folder:
        driver = {"memory_gib": _rounded(free_memory() / 2**30), **_time_driver(Path(folder), prepared)}
    head = "# This machine, as 'tilefarm simulate --calibrate' timed it with one job.\n"
    write_text(path, head + write_yaml({"driver": driver, "nodes": [node]}))


def _time_workers(prepared: Prepared) -> dict[str, Any]:
    """The workers of a run here, timed by what they do in the job's last level, all at once."""
    job = prepared.job
    weights = load_weights(job.network.name, job.network.weights, job.network.preprocessing)
    wanted = None if job.compute.workers == "auto" else job.compute.workers
    most = most_workers(job, estimate(prepared))
    executor = open_executor(ExecutorChoice(), weights, job.compute.device, wanted, most)
    try:
        worker = executor.workers[0]
        if prepared.plan.levels[-1].pieces:
            pixels, first = time_pieces(prepared, executor)
            speed, beside = pixels / 1e6, 0.0
        else:
            timed = time_tile(prepared, executor, weights, well=True)
            speed, beside = 1 / timed.seconds_per_megapixel_step, _beside(timed)
            first = timed.warm_up_seconds
    finally:
        executor.close()
    return {
        "workers": len(executor.workers),
        "device": "cpu" if worker.gpu_bytes is None else "cuda",
        "precision": worker.fast_precision,
        "memory_gib": _rounded((worker.gpu_bytes or free_memory()) / 2**30),
        "megapixel_steps_s": _rounded(speed),
        "call_seconds": _rounded(beside),
        "first_call_seconds": _rounded(first),
    }


def _beside(timed: Calibration) -> float:
    """Seconds of a call beside its steps."""
    step = timed.seconds_per_megapixel_step * timed.megapixels
    return max(0.0, timed.first_step_seconds - (1 + EXTRA_STEPS) * step)


def _folder(prepared: Prepared) -> Path | None:
    folder = prepared.job.output.path.parent
    return folder if folder.is_dir() else None


def _time_driver(folder: Path, prepared: Prepared) -> dict[str, float]:
    """MB/s of disk and vectors, and megapixels/s of resizing."""
    files = [folder / f"{number}.f32" for number in range(_VECTORS + 1)]
    values = np.random.default_rng(0).random(VALUES, dtype=np.float32)
    for file in files:
        values.tofile(file)
    size = values.nbytes / 1e6

    def written() -> None:
        values.tofile(files[0])
        sync_file(files[0])

    vectors = FileVectors(Cut.flat(VALUES))

    def streamed() -> None:
        vectors.combine(files[-1], [(0.5, file) for file in files[:_VECTORS]])
        vectors.dots(files[:_VECTORS], files[:2])
        checksum(files[0])

    small = folder / "small"

    def synced() -> None:
        small.write_bytes(b"x")
        sync_file(small)

    synced()
    levels = [level for level in prepared.plan.levels if level.size.pixels <= _MOST_PIXELS]
    level = levels[-1] if levels else prepared.plan.levels[0]
    resizing = _shortest(
        lambda: write_view(prepared.content, prepared.plan.view, level.size, folder / "view")
    )
    os.sync()
    return {
        "disk_mb_s": _rounded(size / _shortest(written)),
        "vectors_mb_s": _rounded(size * (2 * _VECTORS + 4) / _shortest(streamed)),
        "sync_seconds": _rounded(_shortest(synced)),
        "megapixels_s": _rounded(level.size.pixels / 1e6 / resizing),
    }


def _shortest(work: Callable[[], None]) -> float:
    """Seconds of the fastest of three: other programs only make it longer."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return max(min(times), 1e-6)


def _rounded(value: float) -> float:
    """Three digits."""
    return float(f"{value:.3g}")
