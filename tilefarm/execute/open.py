"""Opening an executor: the only place that decides between Ray and this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tilefarm.execute.layout import lay_out
from tilefarm.execute.patience import patience_here
from tilefarm.execute.protocol import Executor
from tilefarm.solve.contract import Weights


@dataclass(frozen=True)
class ExecutorChoice:
    """Where the work is to be done."""

    kind: Literal["ray", "local"] = "ray"
    address: str | None = None
    """Of a running Ray cluster; None starts one inside this process's session."""


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Fits = Callable[[int], int]
"""How many workers a machine with so many bytes of free memory holds."""


def unlimited(free: int) -> int:
    """As many as you like."""
    return sys.maxsize


def open_executor(
    choice: ExecutorChoice,
    weights: Weights,
    device: str,
    workers: int | None,
    most: int,
    fits: Fits = unlimited,
) -> Executor:
    """An executor with its workers ready. Close it when done.

    `workers` None means as many as there is room for: on this machine, beside the driver, at most `most`, and
    on others of a cluster as many as `fits`. The workers of a cluster that is joined come and go with its
    nodes. Raises ClusterError and ResourceError. torch or ray are imported here and not before.
    """
    # Waiting threads that sleep instead of spinning: measured 5% slower on an idle machine and 1.4 times
    # faster beside another program. Read when torch is imported, here or by the workers that inherit it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    cores = usable_cores()
    if choice.kind == "local":
        from tilefarm.execute.local import LocalExecutor
        from tilefarm.execute.worker import TileWorker

        return LocalExecutor(TileWorker(weights, device, min(cores, 8)))
    from tilefarm.execute import cluster

    patience = patience_here()
    if choice.address is None:
        cluster.start_local(max(cores, workers or 1), device)
    else:
        cluster.join(choice.address)
    try:
        from tilefarm.execute.farm import RayExecutor
        from tilefarm.execute.roll import Roll

        if choice.address is None:
            layout = lay_out(cluster.nodes(most), device, workers)
            return RayExecutor(cluster.make_worker, weights, layout, patience)
        roll = Roll(partial(cluster.nodes, most, fits), device, workers)
        return RayExecutor(cluster.make_worker, weights, roll.first(), patience, roll)
    except BaseException:
        cluster.leave()
        raise
