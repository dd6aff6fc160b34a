"""Timing the two passes of the exact method on the workers of this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tilefarm.calibrate import LARGEST_SIDE, noise_targets, timed
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.execute.protocol import Executor, Keep
from tilefarm.geometry import Size
from tilefarm.plan.halo import Piece, partition, receptive_field
from tilefarm.plan.layers import deepest_of
from tilefarm.prepare import Prepared
from tilefarm.settings import choose_keep, solver_settings
from tilefarm.simulate.job_work import FORWARD, passes_of
from tilefarm.simulate.job_work import chosen as chosen_for

PIECES = 2
"""Per worker."""


def time_pieces(prepared: Prepared, executor: Executor) -> tuple[float, float]:
    """Pixels a second that a worker sends forward and backward while all do; seconds more for its first call.

    Timed are evaluations of a picture of noise, of which workers keep what they keep in the job's last level.
    That must be in pieces.
    """
    prepared, started = chosen_for(prepared, executor.workers)
    settings, level = solver_settings(prepared.job, started), prepared.plan.levels[-1]
    keep = choose_keep(prepared, level, executor.workers, started.precision)
    pieces, size = _row(prepared, PIECES * len(executor.workers))
    picture = np.random.default_rng(0).random((size.height, size.width, 3), dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="tilefarm-calibrate-") as name:
        folder = Path(name)
        picture.tofile(folder / "picture.f32")
        evaluate = WholeEvaluator(
            executor,
            settings,
            noise_targets(settings),
            WholePicture("calibration", size, pieces, folder / "picture.f32"),
            keep,
            lambda done, total: None,
        )

        def work() -> None:
            evaluate(folder / "picture.f32", folder / "gradient.f32")

        begin = time.perf_counter()
        work()
        first = time.perf_counter() - begin
        (seconds,) = timed(work, well=True)
    workers = len(executor.workers)
    speed = pixel_steps(pieces, workers, keep) / seconds / workers
    contents = sum(piece.crop.size.pixels for piece in pieces) * FORWARD / workers / speed
    return speed, max(0.0, first - seconds - contents)


def pixel_steps(pieces: Sequence[Piece], workers: int, keep: Keep) -> float:
    """Of an evaluation whose contents are kept as far as they can be, with pieces that go round."""
    total = 0.0
    for index, piece in enumerate(pieces):
        rank = index // workers
        content, graph = rank < keep.contents, rank < keep.graphs
        total += piece.crop.size.pixels * FORWARD * sum(passes_of(content=content, graph=graph))
    return total


def _row(prepared: Prepared, count: int) -> tuple[tuple[Piece, ...], Size]:
    """So many pieces in a row, as large as the job's, or a bit smaller."""
    job = prepared.job
    field = receptive_field(job.network.name, deepest_of(job))
    side = min(job.tiles.side, LARGEST_SIDE)
    size = Size(side * count, side)
    return tuple(partition(size, side, field)), size
