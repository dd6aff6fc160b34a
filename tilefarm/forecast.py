"""What a job will take on this machine: memory with what the exact method keeps in it, disk, and time."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tilefarm
from tilefarm.errors import ResourceError
from tilefarm.execute.layout import Node, lay_out
from tilefarm.execute.open import usable_cores
from tilefarm.execute.process import free_memory, total_memory
from tilefarm.execute.protocol import Keep, WorkerInfo
from tilefarm.plan.build import LevelPlan, RenderPlan
from tilefarm.plan.estimate import Needs, content_bytes, graph_bytes
from tilefarm.prepare import Prepared, estimate, most_workers
from tilefarm.settings import choose_core, choose_keep
from tilefarm.solve.contract import Precision, is_low

if TYPE_CHECKING:
    from tilefarm.calibrate import Calibration


@dataclass(frozen=True)
class KeptPieces:
    """Of one exact level: how many of its pieces stay in memory, all workers together."""

    level: int
    pieces: int
    contents: int
    """Pieces whose content features are kept for the level; the others' are computed in every pass."""
    graphs: int
    """Pieces whose graph is kept between the two passes; the others are run again."""
    bytes_per_worker: int
    work_factor: float
    """Work of an evaluation over that of a forward and a backward pass over all pieces."""


@dataclass(frozen=True)
class Forecast:
    """A job's plan in resources."""

    plan: RenderPlan
    """With the size of pieces that is chosen here."""
    needs: Needs
    """The least that it can work with."""
    workers: int
    """That this machine would start."""
    kept: tuple[KeptPieces, ...]
    """One entry per exact level."""
    worker_bytes: int
    """Memory of one worker with all that it keeps."""
    calibration: Calibration | None
    seconds: float | None
    """None without a calibration."""
    shortage: str | None
    """Why the job would be refused on this machine, if it would."""


def forecast(prepared: Prepared, timed: bool) -> Forecast:
    """The forecast for this machine; `timed` runs one real tile, for which torch is loaded."""
    required = estimate(prepared)
    shortage = None
    try:
        most = most_workers(prepared.job, required)
    except ResourceError as error:
        most, shortage = 1, str(error)
    calibration = None
    if timed and shortage is None:
        from tilefarm.calibrate import calibrate

        calibration = calibrate(prepared)
    workers = _workers(prepared, calibration, most)
    precision = _precision(prepared, calibration)
    prepared = prepared.with_core(choose_core(prepared, workers, precision))
    exact = [level for level in prepared.plan.levels if level.pieces]
    kept = tuple(_kept(prepared, level, workers, precision) for level in exact)
    seconds = None
    if calibration is not None:
        pixels = busiest_pixels(prepared.plan, kept, len(workers))
        on_gpu = calibration.worker.gpu_bytes is not None
        speed = 1 if on_gpu else workers[0].threads / calibration.worker.threads
        seconds = pixels / 1e6 * calibration.seconds_per_megapixel_step / speed
    required = estimate(prepared, precision)
    worker_bytes = required.worker_bytes + max((pieces.bytes_per_worker for pieces in kept), default=0)
    return Forecast(prepared.plan, required, len(workers), kept, worker_bytes, calibration, seconds, shortage)


def busiest_pixels(plan: RenderPlan, kept: Sequence[KeptPieces], workers: int) -> float:
    """Pixels that the worker with the most tiles or pieces of every level sends through the network."""
    factors = {pieces.level: pieces.work_factor for pieces in kept}
    return sum(
        level.evaluated_pixels * factors.get(level.index, 1.0) * -(-level.units // workers) / level.units
        for level in plan.levels
    )


def work_factor(pieces: int, contents: int, graphs: int) -> float:
    """Work of one evaluation over that of a forward and a backward pass, which count the same.

    A piece without its graph goes forward twice. The content of a piece without its features goes forward
    in each pass, or once where the graph, with which the features wait, is kept.
    """
    no_content = 1 - contents / pieces
    no_graph = 1 - graphs / pieces
    return 1 + (no_graph + no_content + min(no_content, no_graph)) / 2


def _kept(
    prepared: Prepared, level: LevelPlan, workers: list[WorkerInfo], precision: Precision
) -> KeptPieces:
    keep: Keep = choose_keep(prepared, level, workers, precision)
    low = is_low(precision)
    size = keep.graphs * graph_bytes(prepared.job, level, low)
    size += keep.contents * content_bytes(prepared.job, level, low)
    pieces = len(level.pieces)
    contents, graphs = (min(pieces, count * len(workers)) for count in (keep.contents, keep.graphs))
    return KeptPieces(level.index, pieces, contents, graphs, size, work_factor(pieces, contents, graphs))


def _workers(prepared: Prepared, calibration: Calibration | None, most: int) -> list[WorkerInfo]:
    """The workers that a run here would have: for GPUs as many as the job names, or one."""
    wanted = None if prepared.job.compute.workers == "auto" else prepared.job.compute.workers
    if calibration is not None and calibration.worker.gpu_bytes is not None:
        return [calibration.worker] * (wanted or 1)
    layout = lay_out([Node(None, max(usable_cores(), wanted or 1), 0, most)], "cpu", wanted)
    worker = WorkerInfo(
        device="cpu",
        device_name=platform.machine(),
        gpu_bytes=None,
        threads=layout[0].threads,
        fast_precision="float32",
        process=os.getpid(),
        node=platform.node(),
        version=tilefarm.__version__,
        memory_bytes=free_memory(),
        node_bytes=total_memory(),
    )
    return [worker] * len(layout)


def _precision(prepared: Prepared, calibration: Calibration | None) -> Precision:
    if calibration is not None:
        return calibration.precision
    chosen = prepared.job.compute.precision
    return "float32" if chosen == "auto" else chosen
