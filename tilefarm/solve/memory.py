"""Work for which a GPU's memory is too small: in smaller batches, with less kept, or told in a sentence.

Nothing is tried again inside an `except` block: there the exception keeps its frames alive, and these the
tensors that filled the memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch

from tilefarm.errors import DeviceError, ResourceError
from tilefarm.solve.contract import LevelTargets, SolverSettings, is_low
from tilefarm.solve.measure import measure
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.pieces import PieceSolver
from tilefarm.solve.tasks import (
    Derivatives,
    Measurement,
    MeasureTask,
    MissingState,
    PieceGradient,
    PieceSums,
    PieceTask,
    TileSolution,
    TileTask,
)
from tilefarm.solve.tile import solve_tiles

_GPU_SIGNS = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""In errors of what allocates beside torch's own allocator."""
_CPU_SIGN = "DefaultCPUAllocator"
_BROKEN_SIGNS = ("CUDA error", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cuda runtime error")
"""In errors after which a process can do nothing more on its GPU, unless they say that memory ran out."""

_Result = TypeVar("_Result")


class MemoryAwareSolver:
    """All work for one network and its settings. It remembers what was too much for the GPU's memory.

    Every method raises ResourceError for a single tile or piece that does not fit with nothing else in
    memory, and for one that does not fit into a CPU's.
    """

    def __init__(self, network: FeatureNetwork, settings: SolverSettings) -> None:
        self._network = network
        self._settings = settings
        self._most_tiles: dict[tuple[int, ...], int] = {}
        """By the shape of a tile. As many fitted, or were not tried yet."""
        self._most_graphs = sys.maxsize
        self._most_contents = sys.maxsize
        self._kept = (0, 0, 0)
        self._pieces: PieceSolver | None = None

    def solve(
        self,
        targets: LevelTargets,
        tasks: Sequence[TileTask],
        on_iteration: Callable[[int, float], None] | None = None,
    ) -> list[TileSolution]:
        """`solve_tiles`, in halves where the batch does not fit, and these in halves again.

        The solutions are in the order of `tasks`. `on_iteration` starts again at 1 with each part.
        """
        solutions: list[TileSolution] = []
        while len(solutions) < len(tasks):
            rest = tasks[len(solutions) :]
            shape = rest[0].image.shape
            part = rest[: self._most_tiles.get(shape, len(rest))]
            what = f"a tile of {shape[1]}x{shape[0]} pixels"
            work = partial(solve_tiles, self._network, self._settings, targets, part, on_iteration)
            found = self._attempt(what, work)
            if found is not None:
                solutions += found
            elif len(part) > 1:
                self._most_tiles[shape] = (len(part) + 1) // 2
            else:
                raise self._too_large(what)
        return solutions

    def measure(self, task: MeasureTask) -> Measurement:
        """Statistics of one piece of a picture."""
        height, width = task.crop.shape[:2]
        what = f"a piece of {width}x{height} pixels"
        return self._one(what, partial(measure, self._network, self._settings, task))

    def statistics(
        self, task: PieceTask, graphs: int, contents: int, crops: int = 0
    ) -> PieceSums | MissingState:
        """Pass 1 of the exact method; of at most so many pieces graph, content features and crop are kept.

        Where the memory runs out, all that is kept is dropped and fewer are kept from then on.
        """
        return self._one(_name(task), lambda: self._piece_solver(graphs, contents, crops).statistics(task))

    def gradient(
        self, task: PieceTask, derivatives: Derivatives, graphs: int, contents: int, crops: int = 0
    ) -> PieceGradient | MissingState:
        """Pass 2, likewise. MissingState also answers a task whose graph was dropped in between."""
        return self._one(
            _name(task), lambda: self._piece_solver(graphs, contents, crops).gradient(task, derivatives)
        )

    def _one(self, what: str, work: Callable[[], _Result]) -> _Result:
        found = self._attempt(what, work)
        if found is None:
            raise self._too_large(what)
        return found

    def _attempt(self, what: str, work: Callable[[], _Result]) -> _Result | None:
        """The result of `work`; None where the GPU's memory is too small even with nothing kept."""
        found = self._try(what, work)
        if found is None and self._pieces is not None:
            self._keep_less()
            found = self._try(what, work)
        return found

    def _try(self, what: str, work: Callable[[], _Result]) -> _Result | None:
        """The result of `work`; None where the GPU's memory is too small."""
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            on_gpu, on_cpu = _gpu_ran_out(error), _cpu_ran_out(error)
            if not (on_gpu or on_cpu) and _gpu_broke(error):
                raise DeviceError(f"{self._network.device} failed: {str(error).splitlines()[0]}") from error
            if not (on_gpu or on_cpu):
                raise
        if on_cpu:
            raise self._too_large(what)
        torch.cuda.empty_cache()  # does nothing in a process that does not use CUDA
        return None

    def _piece_solver(self, graphs: int, contents: int, crops: int) -> PieceSolver:
        kept = (min(graphs, self._most_graphs), min(contents, self._most_contents), crops)
        if self._pieces is None or self._kept != kept:
            self._pieces = None
            self._pieces = PieceSolver(self._network, self._settings, *kept)
            self._kept = kept
        return self._pieces

    def _keep_less(self) -> None:
        """Drop what is kept from pieces, and keep a quarter fewer: first graphs, which save less time.

        The driver learns of it by MissingState and repeats the pass, which costs more than a few graphs save.
        """
        graphs, contents, _ = self._kept
        if graphs:
            self._most_graphs = graphs * 3 // 4
        else:
            self._most_contents = contents * 3 // 4
        self._pieces = None
        torch.cuda.empty_cache()

    def _too_large(self, what: str) -> ResourceError:
        device = self._network.device
        precision = self._settings.precision
        ways = ["make tiles.size smaller"]
        if not is_low(precision):
            ways.append("set compute.precision to bfloat16")
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            room = f"memory of {device}, of whose {total / 2**30:.1f} GiB {free / 2**30:.1f} GiB are free"
            ways.append("choose another compute.device")
        else:
            room = "memory that is free on this machine"
            ways.append("run fewer workers on it with compute.workers")
        return ResourceError(
            f"{what} does not fit in {precision} into the {room}: {', '.join(ways[:-1])} or {ways[-1]}"
        )


def _name(task: PieceTask) -> str:
    return f"a piece of {task.core.size.width}x{task.core.size.height} pixels with its halo"


def _gpu_ran_out(error: Exception) -> bool:
    # torch.OutOfMemoryError is new in torch 2.5; this name of the same class is older
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(sign in str(error) for sign in _GPU_SIGNS)


def _gpu_broke(error: Exception) -> bool:
    return any(sign in str(error) for sign in _BROKEN_SIGNS)


def _cpu_ran_out(error: Exception) -> bool:
    return isinstance(error, MemoryError) or _CPU_SIGN in str(error)
