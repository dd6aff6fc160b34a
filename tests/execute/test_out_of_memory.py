"""A GPU's memory that is too small, played on the CPU: work goes on in smaller parts, to the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.execute.conftest import SIDE, Work, noise, tile
from tests.shortage import Memory, alive, small_memory
from tilefarm.errors import DeviceError, ResourceError
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Batch, Keep, Progress
from tilefarm.execute.worker import TileWorker
from tilefarm.geometry import Box
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.tasks import PieceTask, TileSolution


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    with small_memory(monkeypatch) as memory:
        yield memory


@pytest.fixture
def worker(work: Work) -> TileWorker:
    return TileWorker(work.weights, "cpu", 1)


def batch(*tiles: int) -> Batch:
    return Batch(tiles[0], tuple(tile(index) for index in tiles))


def assert_right(solutions: tuple[TileSolution, ...], work: Work, *parts: tuple[int, ...]) -> None:
    """Equal, bit for bit, to those of batches of these parts in a memory that is large enough.

    And nearly equal to those of other batches: for tiny tiles torch's CPU kernels differ with their number.
    """
    ample = TileWorker(work.weights, "cpu", 1)
    expected = [one for part in parts for one in ample.solve(work.settings, work.targets, batch(*part))]
    assert [solution.index for solution in solutions] == [one.index for one in expected]
    for solution, one in zip(solutions, expected, strict=True):
        assert solution.image.tobytes() == one.image.tobytes()
        assert (solution.first, solution.last) == (one.first, one.last)
        assert solution.iterations == one.iterations
        np.testing.assert_allclose(solution.image, work.solutions[solution.index].image, atol=1e-4)


def sizes(passes: list[int]) -> list[int]:
    """The passes' numbers of tiles, each once for every time it changed."""
    return [size for position, size in enumerate(passes) if position == 0 or size != passes[position - 1]]


@pytest.mark.parametrize(
    ("room", "tried", "parts", "next_parts"),
    [
        (4, [5, 3, 2], [(0, 1, 2), (3, 4)], [(4, 5, 6), (7,)]),
        (2, [5, 3, 2, 1], [(0, 1), (2, 3), (4,)], [(4, 5), (6, 7)]),
        (1, [5, 3, 2, 1], [(0,), (1,), (2,), (3,), (4,)], [(4,), (5,), (6,), (7,)]),
    ],
)
def test_a_batch_that_does_not_fit_is_solved_in_halves(
    work: Work,
    worker: TileWorker,
    memory: Memory,
    room: int,
    tried: list[int],
    parts: list[tuple[int, ...]],
    next_parts: list[tuple[int, ...]],
) -> None:
    """The next batch starts with what fitted."""
    memory.tiles = room
    done = worker.solve(work.settings, work.targets, batch(0, 1, 2, 3, 4))
    assert sizes(memory.passes) == tried
    shortages = memory.shortages
    memory.passes.clear()
    next_done = worker.solve(work.settings, work.targets, batch(4, 5, 6, 7))
    assert memory.shortages == shortages
    memory.tiles = 1000
    assert_right(done, work, *parts)
    assert_right(next_done, work, *next_parts)


def test_other_shapes_and_other_settings_are_tried_in_full(
    work: Work, worker: TileWorker, memory: Memory
) -> None:
    memory.tiles = 1
    both = batch(6, 7)
    cut = [
        replace(task, image=task.image[:32].copy(), content=task.content[:32].copy()) for task in both.tasks
    ]
    other = replace(work.settings, tv_weight=0.25)
    for settings, tasks in (
        (work.settings, both.tasks),
        (work.settings, tuple(cut)),
        (other, both.tasks),
    ):
        memory.passes.clear()
        worker.solve(settings, work.targets, Batch(0, tasks))
        assert sizes(memory.passes) == [2, 1]


def test_a_tile_that_does_not_fit_alone_is_told_in_a_sentence(
    work: Work, worker: TileWorker, memory: Memory
) -> None:
    memory.tiles = 0
    with pytest.raises(ResourceError) as caught:
        worker.solve(work.settings, work.targets, batch(6, 7))
    assert str(caught.value) == (
        "a tile of 64x64 pixels does not fit in float32 into the memory that is free on this machine: "
        "make tiles.size smaller, set compute.precision to bfloat16 or run fewer workers on it with "
        "compute.workers"
    )
    assert caught.value.__context__ is None, "it would keep the failed attempt's tensors"
    assert worker.progress() is None
    memory.tiles = 1
    assert_right(worker.solve(work.settings, work.targets, batch(6, 7)), work, (6,), (7,))


def test_a_gpu_is_named_with_its_memory(
    work: Work, worker: TileWorker, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use_cuda(network: FeatureNetwork) -> None:
        network.device = torch.device("cuda:1")

    memory.tiles = 0
    rooms = {torch.device("cuda:1"): (3 * 2**29, 2**33)}
    monkeypatch.setattr("torch.cuda.mem_get_info", rooms.__getitem__)
    settings = replace(work.settings, precision="bfloat16")
    crop = noise(1)[:48]
    piece = PieceTask(0, "level", Box(0, 0, SIDE, 48), crop, crop)
    solver = worker._ready(settings)
    use_cuda(solver._network)
    memory.error = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *arguments, **options: tensor)
    with pytest.raises(ResourceError) as caught:
        worker.piece_sums(settings, Keep(2, 2), piece)
    assert str(caught.value) == (
        "a piece of 64x48 pixels with its halo does not fit in bfloat16 into the memory of cuda:1, of whose "
        "8.0 GiB 1.5 GiB are free: make tiles.size smaller or choose another compute.device"
    )


def test_the_failed_attempt_has_left_the_memory_when_the_next_one_starts(
    work: Work, worker: TileWorker, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[int] = []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: freed.append(alive(memory.pictures)))
    real: Callable[..., object] = torch.autograd.grad

    def grad(*arguments: object, **options: object) -> object:
        memory.check(memory.passes[-1] > 1)
        return real(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    left: list[int] = []
    memory.on_pass = lambda: left.append(alive(memory.pictures))
    assert_right(worker.solve(work.settings, work.targets, batch(6, 7)), work, (6,), (7,))
    assert memory.shortages == 1
    assert freed == [0]
    assert set(left) == {0}


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
        MemoryError("Unable to allocate 2.00 GiB"),
    ],
)
def test_a_cpu_s_memory_is_told_in_a_sentence_and_nothing_is_tried_again(
    work: Work, worker: TileWorker, memory: Memory, error: Exception
) -> None:
    memory.tiles, memory.error = 1, error
    with pytest.raises(ResourceError, match="64x64 pixels does not fit in float32 into the memory that is"):
        worker.solve(work.settings, work.targets, batch(6, 7))
    assert memory.passes == [2]


def test_other_errors_pass_as_they_are(work: Work, worker: TileWorker, memory: Memory) -> None:
    memory.tiles, memory.error = 1, RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes do not match"):
        worker.solve(work.settings, work.targets, batch(6, 7))
    assert memory.passes == [2]


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: an illegal memory access was encountered\nCompile with `TORCH_USE_CUDA_DSA`",
        "CUDA error: device-side assert triggered",
        "CUDA error: unspecified launch failure",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    ],
)
def test_a_gpu_that_broke_is_not_used_again(
    work: Work, worker: TileWorker, memory: Memory, message: str
) -> None:
    """Its process has lost it: another process is needed, and in this one nothing is tried again."""
    memory.tiles, memory.error = 1, RuntimeError(message)
    batches = [batch(6, 7)]
    with pytest.raises(DeviceError, match=r"^cpu failed: ") as caught:
        list(LocalExecutor(worker).solve(work.settings, work.targets, batches, lambda progress: None))
    first_line = message.splitlines()[0]
    assert str(caught.value) == f"cpu failed: {first_line}; resume the run, which starts a new process"
    assert caught.value.exit_code == 3
    assert memory.passes == [2]


def test_for_the_executor_it_is_one_batch_and_progress_is_of_it(
    work: Work, worker: TileWorker, memory: Memory
) -> None:
    memory.tiles = 2
    seen: list[Progress | None] = []
    memory.on_pass = lambda: seen.append(worker.progress())
    (done,) = LocalExecutor(worker).solve(
        work.settings, work.targets, [batch(3, 4, 5, 6, 7)], lambda progress: None
    )
    assert (done.index, done.attempts) == (3, 1)
    memory.tiles = 1000
    assert_right(done.solutions, work, (3, 4), (5, 6), (7,))
    told = [progress for progress in seen if progress is not None]
    assert {progress.batch for progress in told} == {3}
    assert {progress.iteration for progress in told} <= {1, 2}
    assert [progress.iteration for progress in told].count(1) >= 3
    assert worker.progress() is None
