"""One call of a worker as data: it can be sent, done in any process, kept when it failed, and done again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from tilefarm.errors import TileFailedError, TilefarmError
from tilefarm.events import WorkGiven, WorkReturned
from tilefarm.execute.deadlines import Effort
from tilefarm.execute.protocol import Batch, Keep, Worker
from tilefarm.execute.resident import Resident
from tilefarm.geometry import Box
from tilefarm.solve.contract import LevelTargets, SolverSettings
from tilefarm.solve.core_tasks import CoreGroup, CoreTask, CropTask
from tilefarm.solve.tasks import Derivatives, MeasureTask, PieceTask

CallKind = Literal["solve", "measure", "piece_sums", "piece_gradient", "core", "crop_sums", "crop_gradient"]
"""The methods of `protocol.Worker` that do work, and those of `Resident`."""
Task = Batch | MeasureTask | PieceTask | CoreTask | CoreGroup | CropTask
_AS_LONG_AS: dict[str, CallKind] = {"crop_sums": "piece_sums", "crop_gradient": "piece_gradient"}


@dataclass(frozen=True)
class Call:
    """A method of a worker and its arguments: all that the result depends on but the network's weights."""

    kind: CallKind
    settings: SolverSettings
    task: Task
    shared: LevelTargets | Derivatives | None = None
    """What all calls of a pass have in common: targets of `solve`, slopes of `piece_gradient`."""
    keep: Keep | None = None
    """For pieces of the exact method."""

    @property
    def effort(self) -> Effort:
        """What it is compared by: the same method with the same settings, its pixels and steps."""
        kind, task = (_AS_LONG_AS.get(self.kind, self.kind), self.settings), self.task
        if isinstance(task, Batch):
            pixels = sum(tile.image.shape[0] * tile.image.shape[1] for tile in task.tasks)
            return Effort(kind, pixels, task.tasks[0].iterations)
        if isinstance(task, CoreGroup):
            return Effort(kind, sum(each.core.size.pixels for each in task.tasks))
        return Effort(kind, task.core.size.pixels)

    @property
    def pixel_steps(self) -> int:
        """What the network does: pixels times passes."""
        return 0 if self.kind == "core" else self.effort.work

    def on(self, worker: Worker) -> Any:
        """Do it; returns and raises what the worker's method does."""
        task: Any = self.task
        if self.kind == "solve":
            return worker.solve(self.settings, cast(LevelTargets, self.shared), task)
        if self.kind == "measure":
            return worker.measure(self.settings, task)
        keep, slopes = cast(Keep, self.keep), cast(Derivatives, self.shared)
        if self.kind == "piece_sums":
            return worker.piece_sums(self.settings, keep, task)
        if self.kind == "piece_gradient":
            return worker.piece_gradient(self.settings, keep, slopes, task)
        resident = cast(Resident, worker)
        if self.kind == "core":
            return resident.cores(task) if isinstance(task, CoreGroup) else resident.core(task)
        if self.kind == "crop_sums":
            return resident.crop_sums(self.settings, keep, task)
        return resident.crop_gradient(self.settings, keep, slopes, task)


class WorkFailedError(TileFailedError):
    """A piece of work failed for good. Holds the call, so that its inputs can be kept."""

    def __init__(self, message: str, call: Call, error: str) -> None:
        """`message` is the whole sentence, `error` the last failure alone."""
        super().__init__(message)
        self.call = call
        self.error = error


def piece_effort(settings: SolverSettings, core: Box) -> Effort:
    """What homes are shared out by, whatever is done first: pass 1 of a piece."""
    return Effort(("piece_sums", settings), core.size.pixels)


def core_call(task: CoreTask | CoreGroup | CropTask, slopes: Derivatives | None) -> CallKind:
    """What is done with a task of vectors that lie with the workers."""
    if isinstance(task, CoreTask | CoreGroup):
        return "core"
    return "crop_sums" if slopes is None else "crop_gradient"


def in_a_line(error: Exception) -> str:
    """What went wrong: the message, after the kind of error where that is not one of ours."""
    text = " ".join(str(error).split())
    return text if isinstance(error, TilefarmError) else f"{type(error).__name__}: {text}"


def given(worker: int, task: Task) -> WorkGiven:
    """The event of a worker that gets a task."""
    return WorkGiven(worker, *_label(task))


def returned(worker: int, task: Task, pixel_steps: int) -> WorkReturned:
    """The event of a worker that has a task no more."""
    return WorkReturned(worker, *_label(task), pixel_steps)


def _label(task: Task) -> tuple[Literal["tiles", "piece", "measurement"], tuple[int, ...]]:
    if isinstance(task, Batch):
        return "tiles", tuple(tile.index for tile in task.tasks)
    if isinstance(task, CoreGroup):
        return "piece", tuple(each.index for each in task.tasks)
    return "measurement" if isinstance(task, MeasureTask) else "piece", (task.index,)


def name_of(task: Task) -> str:
    """For messages: tile 3, piece 5. A batch is called by its first tile."""
    return f"tile {task.tasks[0].index}" if isinstance(task, Batch) else f"piece {task.index}"
