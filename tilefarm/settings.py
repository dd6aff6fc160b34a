"""Choices that are made once per run, from the job and from the workers there are."""

from __future__ import annotations

from collections.abc import Sequence

import tilefarm
from tilefarm.execute.protocol import WorkerInfo
from tilefarm.plan.estimate import batch_bytes
from tilefarm.prepare import Prepared
from tilefarm.rundir.journal import Started
from tilefarm.solve.contract import Precision, SolverSettings, Weights
from tilefarm.spec.model import Job

MOST_TILES_PER_BATCH = 16
"""Of `tiles.batch: auto` on a GPU: what is lost when a worker dies in mid-batch stays bounded."""
_SHARE_OF_GPU = 0.7


def choose(prepared: Prepared, workers: Sequence[WorkerInfo], weights: Weights) -> Started:
    """Fix what `auto` means for this run. It goes on record, so that a resumed run chooses the same."""
    job = prepared.job
    precision: Precision
    if job.compute.precision == "auto":
        fast = {worker.fast_precision for worker in workers}
        precision = "bfloat16" if fast == {"bfloat16"} else "float32"
    else:
        precision = job.compute.precision
    return Started(
        version=tilefarm.__version__,
        weights_sha256=weights.sha256,
        precision=precision,
        batch=_batch(prepared, workers, precision) if job.tiles.batch == "auto" else job.tiles.batch,
    )


def solver_settings(job: Job, started: Started) -> SolverSettings:
    """What the workers need to know of the job."""
    objective = job.objective
    return SolverSettings(
        network=job.network.name,
        pooling=job.network.pooling,
        precision=started.precision,
        content_layers=tuple(objective.content_layers),
        style_layers=tuple(objective.style_layers),
        content_weight=objective.content_weight,
        style_weight=objective.style_weight,
        tv_weight=objective.tv_weight,
        history=job.optimizer.history,
    )


def _batch(prepared: Prepared, workers: Sequence[WorkerInfo], precision: Precision) -> int:
    """One tile at a time on CPUs, which one tile keeps busy; on GPUs as many as the smallest one holds."""
    if any(worker.gpu_bytes is None for worker in workers):
        return 1
    smallest = min(worker.gpu_bytes or 0 for worker in workers)
    one = batch_bytes(prepared.job, prepared.plan, 1, precision == "bfloat16")
    return max(1, min(MOST_TILES_PER_BATCH, int(smallest * _SHARE_OF_GPU / one)))
