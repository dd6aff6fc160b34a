"""Choices that are made once per run, from the job and from the workers there are."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

import tilefarm
from tilefarm.execute.protocol import Keep, Keeps, WorkerInfo
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.estimate import (
    DRIVER_BYTES,
    WORKER_BASE_BYTES,
    batch_bytes,
    content_bytes,
    crop_bytes,
    graph_bytes,
    optimizer_bytes,
)
from tilefarm.plan.layers import content_layers, style_layers
from tilefarm.prepare import Prepared, gib, memory_budget
from tilefarm.rundir.journal import FORMAT, Started
from tilefarm.solve.contract import AdamSettings, Precision, SolverSettings, Weights, is_low
from tilefarm.spec.model import Job, Optimizer
from tilefarm.spec.regions import regions_of

MOST_TILES_PER_BATCH = 16
"""Of `tiles.batch: auto` on a GPU: what is lost when a worker dies in mid-batch stays bounded."""
_SHARE_OF_GPU = 0.7
CORES = (1536, 1024, 768, 512, 384, 256)
"""Sizes of the exact method's pieces that `tiles.size: auto` chooses from. The larger they are, the less
their halos weigh: 6000x4500 takes 1.17 times the work with 1536 pixels, 1.31 with 1024, 1.68 with 512."""
_FASTEST = 3
"""Where workers are of several kinds, one may get so many times as many pieces as on average."""
_WORKERS_WITH_ROOM = 2
"""So many workers shall fit into a machine's memory with the size that is chosen, so that it is the same for
any number of workers up to that."""


def choose(
    prepared: Prepared, workers: Sequence[WorkerInfo], weights: Weights, agreed: Precision | None = None
) -> Started:
    """Fix what `auto` means for this run. It goes on record, so that a resumed run chooses the same.

    `agreed`: the precision that the other runs of a sweep have, whatever is faster at this moment.
    """
    job = prepared.job
    precision: Precision
    if job.compute.precision == "auto" and agreed is not None:
        precision = agreed
    elif job.compute.precision == "auto":
        fast = {worker.fast_precision for worker in _leading(workers)}
        precision = "bfloat16" if fast == {"bfloat16"} else "float32"
    else:
        precision = job.compute.precision
    return Started(
        version=tilefarm.__version__,
        format=FORMAT,
        weights_sha256=weights.sha256,
        precision=precision,
        batch=_batch(prepared, workers, precision) if job.tiles.batch == "auto" else job.tiles.batch,
        core=choose_core(prepared, workers, precision),
    )


def solver_settings(job: Job, started: Started) -> SolverSettings:
    """What the workers need to know of the job."""
    objective = job.objective
    return SolverSettings(
        network=job.network.name,
        pooling=job.network.pooling,
        precision=started.precision,
        content_layers=content_layers(job),
        style_layers=style_layers(job),
        content_weight=objective.content_weight,
        style_weight=objective.style_weight,
        tv_weight=objective.tv_weight,
        history=job.optimizer.history or 0,
        optimizer=job.optimizer.name,
        adam=adam_settings(job.optimizer),
        statistics=objective.style_statistics,
        activation_shift=objective.activation_shift,
        regions=len(regions_of(job)),
        normalize_gradients=objective.normalize_gradients,
        grey=job.color.grey,
        padding=job.network.padding,
        units=objective.units,
        tv_exponent=objective.tv_exponent,
    )


def adam_settings(optimizer: Optimizer) -> AdamSettings | None:
    """Adam's keys, where it is the optimizer."""
    step_size, betas, averaging = optimizer.step_size, optimizer.betas, optimizer.averaging
    if step_size is None or betas is None or averaging is None:
        return None
    return AdamSettings(step_size, (betas[0], betas[1]), averaging)


def choose_core(prepared: Prepared, workers: Sequence[WorkerInfo], precision: Precision) -> int:
    """The pieces that get the most done: the job's own size where it names one.

    The largest that a worker has memory for, but smaller ones where so many more workers can do these that
    they more than make up for the work that smaller pieces take (see `CORES`). Where none fit, the largest of
    those that need the least: levels that are solved whole need theirs anyway.
    """
    if prepared.job.tiles.size != "auto" or prepared.job.method != "exact":
        return prepared.plan.core
    low = is_low(precision)
    crowd = Counter(worker.node for worker in workers)
    works: dict[int, int] = {}
    best, most_able, fastest = None, 0, 0.0
    for core in CORES:
        plan = prepared.with_core(core).plan
        works[core] = batch_bytes(prepared.job, plan, 1, low)
        able = sum(
            _power(worker)
            for worker in _leading(workers)
            if _fits(prepared, worker, crowd[worker.node], works[core])
        )
        if able > most_able and able / plan.evaluated_pixels > fastest:
            best, most_able, fastest = core, able, able / plan.evaluated_pixels
    return best or min(works, key=lambda core: (works[core], -core))


def unfit(prepared: Prepared, started: Started, worker: WorkerInfo) -> str | None:
    """Why a worker is too small for the run's tiles or pieces; None where it is not.

    A GPU needs room for one tile, since a batch that is too large for it is halved; a machine without one for
    all tiles of a batch.
    """
    tiles = 1 if worker.gpu_bytes is not None else started.batch
    plan = prepared.with_core(started.core).plan
    work = batch_bytes(prepared.job, plan, tiles, is_low(started.precision))
    room = worker.memory_bytes if worker.gpu_bytes is None else round(worker.gpu_bytes * _SHARE_OF_GPU)
    if work <= room:
        return None
    return f"it has {gib(room)} for work that takes {gib(work)}"


def _leading(workers: Sequence[WorkerInfo]) -> list[WorkerInfo]:
    """Those that do nearly all the work, and so decide how it is done: the GPUs, if there are any."""
    return [worker for worker in workers if worker.gpu_bytes is not None] or [*workers]


def _power(worker: WorkerInfo) -> int:
    """What a worker counts among others of its kind."""
    return worker.threads if worker.gpu_bytes is None else 1


def _fits(prepared: Prepared, worker: WorkerInfo, crowd: int, work: int) -> bool:
    """Whether a worker of `crowd` on its machine can do pieces that take `work` bytes."""
    if worker.gpu_bytes is not None:
        return work <= worker.gpu_bytes * _SHARE_OF_GPU
    needed = WORKER_BASE_BYTES + work
    usual = memory_budget(prepared.job, worker.node_bytes) // _WORKERS_WITH_ROOM
    free = (_budget(prepared, worker) - DRIVER_BYTES) // crowd
    return needed <= min(usual, free)


def choose_keeps(
    prepared: Prepared,
    level: LevelPlan,
    present: Callable[[], Sequence[WorkerInfo]],
    precision: Precision,
    vectors: int = 0,
) -> Keeps:
    """What each worker keeps, by its own machine's memory; it stands for the level.

    `present` tells which workers there are: some may join later. `vectors`: bytes of the optimizer's vectors
    that lie with each.
    """

    def of(worker: WorkerInfo) -> Keep:
        workers = present()
        alike = [each for each in workers if _memory(each) == _memory(worker)] or [worker]
        sharers = len(workers) if len(set(map(_kind, workers))) == 1 else max(1, len(workers) // _FASTEST)
        return choose_keep(prepared, level, alike, precision, sharers, vectors)

    return Keeps(cache(of))


def _kind(worker: WorkerInfo) -> object:
    """Workers of one kind are as fast, and get as many pieces."""
    return (worker.device_name, worker.gpu_bytes, worker.threads)


def _memory(worker: WorkerInfo) -> object:
    """What tells workers apart that do not share memory, or have another kind of it."""
    return (worker.node, worker.gpu_bytes)


def choose_keep(
    prepared: Prepared,
    level: LevelPlan,
    workers: Sequence[WorkerInfo],
    precision: Precision,
    sharers: int | None = None,
    vectors: int = 0,
) -> Keep:
    """What the exact method keeps in memory between evaluations and passes: all that the budget allows.

    Content features first: they save two forward passes of every evaluation, graphs one. On the driver's
    machine graphs leave room for the optimizer's files, which the system keeps in memory while it can. What
    is not kept is computed again; the result is the same. On other machines crops that then need not travel
    twice take what is left, a hundredth of a graph each. `sharers`: how many workers share the pieces, where
    these are not all. `vectors`: bytes of the optimizer's vectors that lie with each.
    """
    job, low = prepared.job, is_low(precision)
    most = -(-len(level.pieces) // (sharers or len(workers)))
    content = content_bytes(job, level, low)
    contents = min(most, _room(prepared, workers, precision, 0, vectors) // max(1, content))
    room = _room(prepared, workers, precision, optimizer_bytes(job, level), vectors) - contents * content
    graphs = min(most, max(0, room) // graph_bytes(job, level, low))
    if vectors or all(worker.node == platform.node() for worker in workers):
        return Keep(graphs, contents)  # nothing has to travel
    left = _main_memory(prepared, workers, precision)
    if any(worker.gpu_bytes is None for worker in workers):  # it is the same memory
        left = min(left, room - graphs * graph_bytes(job, level, low))
    return Keep(graphs, contents, crops=min(most - graphs, max(0, left) // crop_bytes(level)))


def _budget(prepared: Prepared, worker: WorkerInfo) -> int:
    """What the job may use of a worker's machine, but no more than is free there."""
    return min(memory_budget(prepared.job, worker.memory_bytes), worker.memory_bytes)


def _room(
    prepared: Prepared, workers: Sequence[WorkerInfo], precision: Precision, reserved: int, vectors: int
) -> int:
    """Bytes that the worker with the least memory has beside what it needs to work at all.

    `reserved`: bytes to leave free on the driver's machine, which do not count as the job's own. `vectors`:
    bytes of main memory that each worker has already given away.
    """
    job = prepared.job
    work = batch_bytes(job, prepared.plan, 1, is_low(precision))
    crowd = Counter(worker.node for worker in workers)
    decoding = max(picture.decoder_bytes for picture in prepared.pictures)
    rooms = []
    for worker in workers:
        if worker.gpu_bytes is not None:
            rooms.append(round(worker.gpu_bytes * _SHARE_OF_GPU) - work)
        else:
            budget = _budget(prepared, worker)
            if worker.node == platform.node():
                budget = min(budget, worker.memory_bytes - reserved) - decoding - DRIVER_BYTES
            rooms.append(budget // crowd[worker.node] - WORKER_BASE_BYTES - work - vectors)
    return max(0, min(rooms))


def _main_memory(prepared: Prepared, workers: Sequence[WorkerInfo], precision: Precision) -> int:
    """Bytes of main memory that a worker on the fullest machine has beside what it needs to work at all."""
    crowd = Counter(worker.node for worker in workers)
    free = min(_budget(prepared, worker) // crowd[worker.node] for worker in workers)
    return free - WORKER_BASE_BYTES - batch_bytes(prepared.job, prepared.plan, 1, is_low(precision))


def _batch(prepared: Prepared, workers: Sequence[WorkerInfo], precision: Precision) -> int:
    """One tile at a time on CPUs, which one tile keeps busy; on GPUs as many as the smallest one holds."""
    if any(worker.gpu_bytes is None for worker in workers):
        return 1
    smallest = min(worker.gpu_bytes or 0 for worker in workers)
    one = batch_bytes(prepared.job, prepared.plan, 1, is_low(precision))
    return max(1, min(MOST_TILES_PER_BATCH, int(smallest * _SHARE_OF_GPU / one)))
