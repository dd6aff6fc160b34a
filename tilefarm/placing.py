"""Where the vectors of the exact method's optimizer lie: in the driver's files, or with the workers."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence

from tilefarm.errors import ResourceError
from tilefarm.execute.protocol import WorkerInfo
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.estimate import WORKER_BASE_BYTES, batch_bytes, crop_bytes, optimizer_bytes
from tilefarm.prepare import Prepared, gib, memory_budget
from tilefarm.solve.contract import Precision, is_low

LEAST_PIECES = 8
"""For `auto`: with fewer pieces few workers share the arithmetic, and the driver may be as fast."""
_UNEQUAL = 1.5
"""A worker may be so many times as fast as they are on average, and have as many more cores."""


def bytes_at_each(prepared: Prepared, level: LevelPlan, workers: int) -> int:
    """What of a level's vectors lies with each of so many workers: all of the optimizer's, and the crops."""
    crops = crop_bytes(level) * len(level.pieces)
    whole = optimizer_bytes(prepared.job, level) + crops
    return min(whole, round(whole * _UNEQUAL / workers))


def at_workers(
    prepared: Prepared,
    level: LevelPlan,
    workers: Sequence[WorkerInfo],
    precision: Precision,
    disk: int | None = None,
) -> bool:
    """Whether the level's vectors go to the workers. The picture is the same either way.

    `disk`: free bytes for the optimizer's files, with what they take already; None: enough. Vectors are kept
    beside those that were kept before, so that they take twice the room.

    Raises ResourceError where the job says so, and there is no room for them.
    """
    job, wanted = prepared.job, prepared.job.compute.vectors
    if wanted == "driver" or job.optimizer.name != "lbfgs" or job.compute.transport == "half":
        return False
    away = any(worker.node != platform.node() for worker in workers)
    if wanted == "auto" and (not away or len(level.pieces) < LEAST_PIECES):
        return False
    need = bytes_at_each(prepared, level, len(workers))
    room = min(_rooms(prepared, workers, precision))
    if wanted == "workers" and room < need:
        raise ResourceError(
            f"compute.vectors: workers needs {gib(need)} with each of the {len(workers)} workers at "
            f"{level.size} pixels, and there are {gib(max(0, room))}; add workers, or choose driver"
        )
    twice = 2 * optimizer_bytes(job, level)
    fits = disk is None or twice <= disk
    if wanted == "workers" and not fits:
        raise ResourceError(
            f"compute.vectors: workers needs {gib(twice)} of disk at {level.size} pixels, and there are "
            f"{gib(disk or 0)}; free some space, or choose driver"
        )
    return need <= room and fits


def _rooms(prepared: Prepared, workers: Sequence[WorkerInfo], precision: Precision) -> list[int]:
    """Bytes of main memory that each worker has beside what it needs to work at all."""
    crowd = Counter(worker.node for worker in workers)
    work = batch_bytes(prepared.job, prepared.plan, 1, is_low(precision))
    return [
        min(memory_budget(prepared.job, worker.memory_bytes), worker.memory_bytes) // crowd[worker.node]
        - WORKER_BASE_BYTES
        - (work if worker.gpu_bytes is None else 0)
        for worker in workers
    ]
