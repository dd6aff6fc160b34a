"""What every executor can do. The driver knows this and nothing about where the work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tilefarm.events import WorkerChanged, WorkEvent
from tilefarm.solve.contract import LevelTargets, Precision, SolverSettings
from tilefarm.solve.core_tasks import CoreTask, CropTask, Place
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

MAX_ATTEMPTS = 3
"""After so many failures of one piece of work, on different workers where there are, the run stops."""


@dataclass(frozen=True)
class Batch:
    """Tiles of one shape that are solved together; the unit of work, of retry and of resume."""

    index: int
    tasks: tuple[TileTask, ...]


@dataclass(frozen=True)
class BatchDone:
    """A batch's solutions, in the order of its tasks."""

    index: int
    solutions: tuple[TileSolution, ...]
    attempts: int
    """1 where the first worker did it."""


@dataclass(frozen=True)
class Keep:
    """How many of its pieces of the exact method a worker may keep in memory."""

    graphs: int
    """Pieces whose graph stays between the two passes of an evaluation: saves a forward pass."""
    contents: int
    """Pieces whose content features stay for the whole level: saves a forward pass in each pass."""
    crops: int = 0
    """Pieces whose crop stays between the two passes where the graph does not: saves sending it again."""

    def of(self, worker: WorkerInfo) -> Keep:
        """As much, whoever the worker is."""
        return self


KEEP_NOTHING = Keep(0, 0)
"""In calls that are not yet for one of the workers, such as those that are saved when they failed."""


@dataclass(frozen=True)
class Keeps:
    """How many each worker may keep, where their memory differs."""

    of: Callable[[WorkerInfo], Keep]


@dataclass(frozen=True)
class Progress:
    """How far a worker is within the batch that it solves at this moment."""

    batch: int
    iteration: int
    loss: float
    """Mean total loss over the batch's tiles."""


@dataclass(frozen=True)
class WorkerInfo:
    """One worker, as it describes itself."""

    device: str
    """cpu, cuda:0 ..."""
    device_name: str
    gpu_bytes: int | None
    """The GPU's memory, None on a CPU."""
    threads: int
    fast_precision: Precision
    """What `precision: auto` means on this worker."""
    process: int
    node: str
    version: str
    """Of tilefarm."""
    memory_bytes: int
    """Free on its node when it started."""
    node_bytes: int
    """Of its node in all."""


FullTask = Callable[[int], PieceTask]
"""(index): a piece's task with all that a worker needs which keeps nothing of it."""


Crews = tuple[tuple[tuple[int, ...], ...], ...]
"""Machines, of workers, of the pieces that they have."""


class Worker(Protocol):
    """Does the work of one actor, or of the whole in-process executor."""

    def info(self) -> WorkerInfo:
        """Describe this worker."""

    def solve(
        self, settings: SolverSettings, targets: LevelTargets, batch: Batch
    ) -> tuple[TileSolution, ...]:
        """Optimise every tile of a batch."""

    def measure(self, settings: SolverSettings, task: MeasureTask) -> Measurement:
        """Statistics of one piece of a picture."""

    def piece_sums(self, settings: SolverSettings, keep: Keep, task: PieceTask) -> PieceSums | MissingState:
        """Pass 1 of the exact method on one piece."""

    def piece_gradient(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, task: PieceTask
    ) -> PieceGradient | MissingState:
        """Pass 2 of the exact method on one piece."""

    def progress(self) -> Progress | None:
        """Where the current `solve` is; None when there is none. Called from another thread."""

    def peak_rss(self) -> int:
        """The largest resident size of this worker's process so far, in bytes."""


class Executor(Protocol):
    """Runs work on workers. Results come in the order in which they are finished."""

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """All workers so far, by their numbers."""

    @property
    def present(self) -> tuple[WorkerInfo, ...]:
        """Those that are not gone for good."""

    @property
    def up(self) -> frozenset[int]:
        """The numbers of those that can work now."""

    def listen(
        self,
        listener: Callable[[WorkerChanged], None],
        on_work: Callable[[WorkEvent], None] = lambda event: None,
    ) -> None:
        """A run begins: tell `listener`, in the thread that takes results, what becomes of workers, and
        `on_work` what they have in hand."""

    def leave_out(self, unfit: Callable[[WorkerInfo], str | None]) -> None:
        """From now on workers for which `unfit` gives a reason get no work, as long as there is another.

        It stands until the next run begins.
        """

    def solve(
        self,
        settings: SolverSettings,
        targets: LevelTargets,
        batches: Iterable[Batch],
        on_progress: Callable[[Progress], None],
    ) -> Iterator[BatchDone]:
        """Optimise all batches, asking for them one by one so that few are in memory at a time.

        Raises TileFailedError when a batch failed `MAX_ATTEMPTS` times.
        """

    def measure(self, settings: SolverSettings, tasks: Iterable[MeasureTask]) -> Iterator[Measurement]:
        """Statistics of all pieces. Raises TileFailedError like `solve`."""

    def piece_sums(
        self,
        settings: SolverSettings,
        keep: Keep | Keeps,
        tasks: Iterable[PieceTask],
        full: FullTask | None = None,
    ) -> Iterator[PieceSums | MissingState]:
        """Pass 1 of the exact method, in the order of the pieces.

        A piece goes to the same worker from evaluation to evaluation, since the worker keeps its content
        features and its graph. Where it goes to another one, since that is faster or the first is gone, it is
        sent as `full` makes it; without `full`, and where a worker is short of memory, the answer is
        MissingState.
        """

    def piece_gradients(
        self,
        settings: SolverSettings,
        keep: Keep | Keeps,
        slopes: Derivatives,
        tasks: Iterable[PieceTask],
        full: FullTask | None = None,
    ) -> Iterator[PieceGradient | MissingState]:
        """Pass 2 of the exact method, likewise."""

    def share_out(self, settings: SolverSettings, places: Sequence[Place]) -> None:
        """Before vectors are handed out: pieces next to each other go to the same worker, and machine."""

    def is_uneven(self) -> bool:
        """Whether what was shared out would be done clearly sooner if it were shared out anew."""

    def crews(self, settings: SolverSettings, places: Sequence[Place]) -> Crews:
        """Where the vectors that were handed out are; nowhere while no worker is there."""

    def with_cores(
        self,
        settings: SolverSettings,
        tasks: Iterable[CoreTask | CropTask],
        keep: Keep | Keeps = KEEP_NOTHING,
        slopes: Derivatives | None = None,
    ) -> Iterator[Any]:
        """Work on vectors whose cores lie with the workers of pieces; answers in the order of the tasks.

        `CoreTask` gives CoreDone. `CropTask` is pass 1 and gives CropSums, or with `slopes` pass 2 and gives
        CoreDone. MissingState where a core is gone with its worker. Raises VectorsLostError where a piece
        failed for good: the vectors must be handed out anew, or be kept elsewhere.
        """

    def peak_rss(self) -> tuple[int, ...]:
        """Every worker's largest resident size so far, in bytes."""

    def close(self) -> None:
        """Free everything. Safe to call twice."""
