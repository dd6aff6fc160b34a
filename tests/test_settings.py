"""What the exact method keeps in memory, by the memory there is."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tilefarm.execute.protocol import Keep, WorkerInfo
from tilefarm.geometry import Size
from tilefarm.plan.build import build_plan
from tilefarm.plan.estimate import content_bytes, graph_bytes, needs
from tilefarm.prepare import Prepared
from tilefarm.settings import choose_keep
from tilefarm.spec.model import Job, Style
from tilefarm.spec.output import Output

GIB = 2**30
WORKER = WorkerInfo("cpu", "test", None, 2, "float32", 1, "here", "1", 8 * GIB)


def prepared_job(width: int, **compute: Any) -> Prepared:
    job = Job.model_validate(
        {
            "name": "gate",
            "content": Path("/in/gate.jpg"),
            "styles": (Style(image=Path("/in/night.jpg")),),
            "output": Output.model_validate({"path": Path("/out/gate.tif"), "width": width}),
            "method": "exact",
            "compute": compute,
        }
    )
    plan = build_plan(job, Size(1200, 900), [Size(900, 900)])
    return cast(Prepared, SimpleNamespace(job=job, plan=plan))


def used(prepared: Prepared, keep: Keep) -> int:
    """Bytes of a worker that keeps so much, in float32, of the finest level."""
    level = prepared.plan.levels[-1]
    kept = keep.graphs * graph_bytes(prepared.job, level, False)
    kept += keep.contents * content_bytes(prepared.job, level, False)
    return needs(prepared.job, prepared.plan, 1, False).worker_bytes + kept


@pytest.mark.parametrize("workers", [1, 3])
def test_the_budget_is_used_and_not_exceeded(workers: int) -> None:
    prepared = prepared_job(12000)
    keep = choose_keep(prepared, prepared.plan.levels[-1], [WORKER] * workers, "float32")
    share = 0.9 * 8 * GIB / workers
    assert used(prepared, keep) <= share
    assert keep.contents > 0
    if workers == 1:
        assert used(prepared, replace(keep, graphs=keep.graphs + 1)) > share


def test_a_budget_of_the_job_counts_instead_of_what_is_free() -> None:
    prepared = prepared_job(12000, memory="4GiB")
    level = prepared.plan.levels[-1]
    assert used(prepared, choose_keep(prepared, level, [WORKER], "float32")) <= 4 * GIB
    tight = prepared_job(12000, memory="2GiB")
    assert choose_keep(tight, level, [WORKER], "float32").graphs == 0


def test_no_more_is_kept_than_there_is() -> None:
    prepared = prepared_job(1024)  # 3x2 pieces
    plenty = replace(WORKER, memory_bytes=100 * GIB)
    level = prepared.plan.levels[-1]
    assert len(level.pieces) == 6
    assert choose_keep(prepared, level, [plenty], "float32") == Keep(graphs=6, contents=6)
    assert choose_keep(prepared, level, [plenty] * 2, "float32") == Keep(graphs=3, contents=3)
    assert choose_keep(prepared, level, [plenty] * 4, "bfloat16") == Keep(graphs=2, contents=2)


def test_on_the_drivers_machine_graphs_leave_room_for_the_optimizer() -> None:
    prepared = prepared_job(6000)
    level = prepared.plan.levels[-1]
    away = [replace(WORKER, memory_bytes=24 * GIB)]
    here = [replace(away[0], node=platform.node())]
    kept, kept_here = (choose_keep(prepared, level, workers, "float32") for workers in (away, here))
    assert kept_here.contents == kept.contents == len(level.pieces)
    optimizer = (4 + 2 * 21) * 6032 * 4532 * 12
    fewer = optimizer / graph_bytes(prepared.job, level, False)
    assert kept.graphs - kept_here.graphs == pytest.approx(fewer, abs=2)


def test_workers_of_other_nodes_and_gpus_have_their_own_memory() -> None:
    prepared = prepared_job(12000)
    level = prepared.plan.levels[-1]
    apart = [WORKER, replace(WORKER, node="there")]
    together = choose_keep(prepared, level, [WORKER] * 2, "float32")
    assert choose_keep(prepared, level, apart, "float32").graphs > together.graphs
    gpus = [replace(WORKER, gpu_bytes=24 * GIB)] * 4
    on_gpus = choose_keep(prepared, level, gpus, "float32")
    assert on_gpus.graphs > choose_keep(prepared, level, [WORKER], "float32").graphs


def test_half_the_precision_keeps_more() -> None:
    prepared = prepared_job(12000)
    level = prepared.plan.levels[-1]
    low = choose_keep(prepared, level, [WORKER], "bfloat16")
    assert low.graphs > 1.5 * choose_keep(prepared, level, [WORKER], "float32").graphs
