"""What the exact method keeps in memory, by the memory there is."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import Any

import pytest

from tests.prepared import prepared_job
from tilefarm.execute.protocol import Keep, WorkerInfo
from tilefarm.plan.estimate import content_bytes, crop_bytes, graph_bytes, needs
from tilefarm.prepare import Prepared
from tilefarm.rundir.journal import Started
from tilefarm.settings import choose, choose_core, choose_keep, choose_keeps, unfit
from tilefarm.solve.contract import Precision, Weights

GIB = 2**30
WORKER = WorkerInfo("cpu", "test", None, 2, "float32", 1, "here", "1", 8 * GIB, 8 * GIB)


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
    optimizer = (4 + 2 * 16) * 6032 * 4532 * 12
    beyond_spare = optimizer - 0.1 * 24 * GIB  # a tenth of the memory is left alone anyway
    fewer = beyond_spare / graph_bytes(prepared.job, level, False)
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


def core(free: float, workers: int = 1, total: float = 24, **compute: Any) -> int:
    """The pieces' size for workers on a machine with `free` of `total` GiB free."""
    worker = replace(WORKER, memory_bytes=round(free * GIB), node_bytes=round(total * GIB))
    return choose_core(prepared_job(6000, "auto", **compute), [worker] * workers, "bfloat16")


def test_auto_takes_the_largest_pieces_that_fit() -> None:
    sizes = [core(memory, total=memory) for memory in (64, 16, 8, 4, 3)]
    assert sizes == [1536, 1536, 1536, 1024, 512]
    for memory in (64, 16, 8, 4):
        prepared = prepared_job(6000, "auto").with_core(core(memory, total=memory))
        assert needs(prepared.job, prepared.plan, 1, True).worker_bytes <= 0.9 * memory * GIB / 2


def test_the_number_of_workers_does_not_change_the_pieces_while_they_fit() -> None:
    assert core(24, 1) == core(24, 2) == core(24, 4) == 1536
    assert core(24, 16) < 1536
    assert core(3, 1) < 1536, "little is free"
    assert core(24, 1, memory="5GiB") < 1536


def test_the_jobs_own_size_counts_and_feathered_tiles_stay_as_they_are() -> None:
    assert choose_core(prepared_job(6000, 320), [WORKER], "bfloat16") == 320
    plenty = replace(WORKER, memory_bytes=64 * GIB, node_bytes=64 * GIB)
    auto = prepared_job(6000, "auto")
    feathered = replace(auto, job=auto.job.model_copy(update={"method": "feathered"}))
    assert choose_core(feathered, [plenty], "bfloat16") == 512


def test_a_gpu_has_its_own_memory_for_pieces() -> None:
    gpu = replace(WORKER, gpu_bytes=80 * GIB, memory_bytes=GIB)
    assert choose_core(prepared_job(6000, "auto"), [gpu], "bfloat16") == 1536
    assert choose_core(prepared_job(6000, "auto"), [replace(gpu, gpu_bytes=GIB)], "float32") == 512


def test_pieces_of_another_size_are_planned() -> None:
    prepared = prepared_job(6000, "auto")
    sides = {piece.core.width for piece in prepared.with_core(1024).plan.levels[-1].pieces}
    assert prepared.plan.core == 512
    assert 900 < max(sides) <= 1024 + 15
    assert [len(level.pieces) for level in prepared.with_core(1536).plan.levels] == [0, 0, 1, 4, 4, 12]
    assert [len(level.pieces) for level in prepared.with_core(1024).plan.levels] == [0, 0, 1, 4, 9, 30]
    whole = [level.size for level in prepared.with_core(1024).plan.levels if not level.pieces]
    assert whole == [level.size for level in prepared.plan.levels if not level.pieces]


def test_crops_are_kept_where_they_would_travel_twice() -> None:
    """Of the pieces that have no graph, and with the memory that graphs and contents leave."""
    prepared = prepared_job(6000)
    level = prepared.plan.levels[-1]
    here = choose_keep(prepared, level, [replace(WORKER, node=platform.node())], "float32")
    assert here.crops == 0
    away = choose_keep(prepared, level, [WORKER], "float32")
    assert 0 < away.crops <= len(level.pieces) - away.graphs
    assert used(prepared, away) + away.crops * crop_bytes(level) <= 0.9 * 8 * GIB
    gpu = replace(WORKER, gpu_bytes=8 * GIB, memory_bytes=64 * GIB)
    on_gpu = choose_keep(prepared, level, [gpu], "float32")
    assert on_gpu.graphs + on_gpu.crops == len(level.pieces), "main memory has room for all"
    assert on_gpu.graphs < len(level.pieces)
    no_room = choose_keep(prepared, level, [replace(gpu, memory_bytes=GIB)], "float32")
    assert (no_room.graphs, no_room.crops) == (on_gpu.graphs, 0)


def gpu(gib: float, precision: Precision = "bfloat16") -> WorkerInfo:
    return replace(WORKER, gpu_bytes=round(gib * GIB), fast_precision=precision)


def chosen(*workers: WorkerInfo, width: int = 6000, **compute: Any) -> Started:
    return choose(prepared_job(width, "auto", **compute), workers, Weights({}, "caffe", ""))


def test_gpus_decide_where_there_are_any() -> None:
    plain = replace(WORKER, memory_bytes=3 * GIB, node="small")
    assert chosen(plain).precision == "float32"
    assert (chosen(plain).core, chosen(gpu(80)).core) == (768, 1536)
    mixed = chosen(plain, gpu(80))
    assert (mixed.precision, mixed.core) == ("bfloat16", 1536)
    assert mixed.batch == 1, "a tile at a time is what a CPU can do"
    assert chosen(gpu(80), gpu(80)).batch > 1
    assert chosen(gpu(80), gpu(80, "float32")).precision == "float32", "what all of them do fast"


def test_small_workers_count_by_what_they_add() -> None:
    """One small GPU among many is left out; as many small ones as large ones are worth smaller pieces."""
    large, small = gpu(80), gpu(1)
    assert chosen(*[large] * 8, small).core == 1536
    assert chosen(large, *[small] * 8).core == chosen(small).core < 1536


def test_workers_that_are_too_small_are_told_from_others() -> None:
    prepared = prepared_job(6000, "auto")
    started = chosen(*[gpu(80)] * 8)
    assert started.core == 1536
    assert unfit(prepared, started, gpu(80)) is None
    reason = unfit(prepared, started, gpu(1))
    assert reason is not None
    assert reason.startswith("it has 717 MiB for work that takes ")
    plain = replace(WORKER, memory_bytes=64 * GIB)
    assert unfit(prepared, started, plain) is None
    assert unfit(prepared, started, replace(plain, memory_bytes=GIB // 2)) is not None
    one, many = (started.model_copy(update={"batch": batch}) for batch in (1, 16))
    feathered = replace(prepared, job=prepared.job.model_copy(update={"method": "feathered"}))
    assert unfit(feathered, many, gpu(1)) is None, "its batches are halved until they fit"
    assert unfit(feathered, many, replace(plain, memory_bytes=GIB)) is not None, "a CPU's are not"
    assert unfit(feathered, one, replace(plain, memory_bytes=GIB)) is None


def test_every_worker_keeps_what_its_own_memory_holds() -> None:
    prepared = prepared_job(12000)
    level = prepared.plan.levels[-1]
    small, large = WORKER, replace(WORKER, node="there", memory_bytes=32 * GIB, process=2)
    workers = [small, replace(small, process=3), large]
    keeps = choose_keeps(prepared, level, lambda: workers, "float32")
    assert keeps.of(large).graphs > keeps.of(small).graphs
    assert used(prepared, keeps.of(small)) <= 0.9 * 8 * GIB / 2
    assert keeps.of(large).contents == -(-len(level.pieces) // 3), "its share of the pieces, and no more"
    workers.append(replace(large, node="new", process=4, memory_bytes=8 * GIB))
    assert used(prepared, keeps.of(workers[-1])) <= 0.9 * 8 * GIB, "one that joins too"
    fewer = keeps.of(large)
    assert choose_keeps(prepared, level, lambda: workers, "float32").of(large) != fewer == keeps.of(large)


def test_alike_workers_keep_what_they_kept_together() -> None:
    prepared = prepared_job(12000)
    level = prepared.plan.levels[-1]
    for worker in (WORKER, gpu(24)):
        workers = [replace(worker, process=number) for number in range(3)]
        keeps = choose_keeps(prepared, level, lambda here=workers: here, "float32")  # type: ignore[misc]
        assert {keeps.of(each) for each in workers} == {choose_keep(prepared, level, workers, "float32")}


def test_a_fast_worker_among_slow_ones_keeps_more_than_an_equal_share() -> None:
    prepared = prepared_job(3000, 512)
    level = prepared.plan.levels[-1]
    plenty = replace(WORKER, memory_bytes=500 * GIB, node_bytes=500 * GIB)
    crew = [replace(plenty, node=str(number), threads=32 if number == 0 else 2) for number in range(6)]
    equal = choose_keeps(prepared, level, lambda: [plenty] * 6, "float32").of(plenty)
    keeps = choose_keeps(prepared, level, lambda: crew, "float32")
    share = -(-len(level.pieces) // 6)
    assert equal == Keep(share, share)
    assert keeps.of(crew[0]) == Keep(-(-len(level.pieces) // 2), -(-len(level.pieces) // 2))
