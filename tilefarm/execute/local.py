"""The in-process executor: one worker, no Ray. For debugging and where Ray is unwanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tilefarm.errors import DeviceError, ResourceError, StoppedError, TilefarmError
from tilefarm.events import WorkerChanged, WorkEvent
from tilefarm.execute.call import Call, WorkFailedError, core_call, given, in_a_line, name_of, returned
from tilefarm.execute.protocol import (
    KEEP_NOTHING,
    MAX_ATTEMPTS,
    Batch,
    BatchDone,
    Crews,
    FullTask,
    Keep,
    Keeps,
    Progress,
    Worker,
    WorkerInfo,
)
from tilefarm.execute.resident import Resident
from tilefarm.solve.contract import LevelTargets, SolverSettings
from tilefarm.solve.core_tasks import CoreTask, CropTask, Place
from tilefarm.solve.tasks import (
    Derivatives,
    Measurement,
    MeasureTask,
    MissingState,
    PieceGradient,
    PieceSums,
    PieceTask,
)

PROGRESS_SECONDS = 0.5


class LocalExecutor:
    """Runs everything in the calling thread; a second thread reports progress meanwhile."""

    def __init__(self, worker: Worker) -> None:
        self._worker = Resident(worker)
        self._info = (worker.info(),)
        self._on_work: Callable[[WorkEvent], None] = lambda event: None

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """The one worker."""
        return self._info

    @property
    def present(self) -> tuple[WorkerInfo, ...]:
        """The one worker."""
        return self._info

    @property
    def up(self) -> frozenset[int]:
        """The one worker."""
        return frozenset({0})

    def listen(
        self,
        listener: Callable[[WorkerChanged], None],
        on_work: Callable[[WorkEvent], None] = lambda event: None,
    ) -> None:
        """Told is what the one worker has in hand; where it ends, this process ends."""
        self._on_work = on_work

    def leave_out(self, unfit: Callable[[WorkerInfo], str | None]) -> None:
        """There is no other worker."""

    def solve(
        self,
        settings: SolverSettings,
        targets: LevelTargets,
        batches: Iterable[Batch],
        on_progress: Callable[[Progress], None],
    ) -> Iterator[BatchDone]:
        """Optimise all batches, one after the other."""
        for batch in batches:
            with _Ticker(self._worker, on_progress):
                solutions, attempts = self._attempt(Call("solve", settings, batch, targets))
            yield BatchDone(batch.index, solutions, attempts)

    def measure(self, settings: SolverSettings, tasks: Iterable[MeasureTask]) -> Iterator[Measurement]:
        """Statistics of all pieces, one after the other."""
        for task in tasks:
            yield self._attempt(Call("measure", settings, task))[0]

    def piece_sums(
        self,
        settings: SolverSettings,
        keep: Keep | Keeps,
        tasks: Iterable[PieceTask],
        full: FullTask | None = None,
    ) -> Iterator[PieceSums | MissingState]:
        """Pass 1 of the exact method, one piece after the other."""
        for task in tasks:
            yield self._attempt(Call("piece_sums", settings, task, None, keep.of(self._info[0])))[0]

    def piece_gradients(
        self,
        settings: SolverSettings,
        keep: Keep | Keeps,
        slopes: Derivatives,
        tasks: Iterable[PieceTask],
        full: FullTask | None = None,
    ) -> Iterator[PieceGradient | MissingState]:
        """Pass 2 of the exact method, one piece after the other."""
        for task in tasks:
            yield self._attempt(Call("piece_gradient", settings, task, slopes, keep.of(self._info[0])))[0]

    def share_out(self, settings: SolverSettings, places: Sequence[Place]) -> None:
        """There is one worker."""

    def is_uneven(self) -> bool:
        """There is one worker."""
        return False

    def crews(self, settings: SolverSettings, places: Sequence[Place]) -> Crews:
        """The one worker has all."""
        return ((tuple(place.index for place in places),),)

    def with_cores(
        self,
        settings: SolverSettings,
        tasks: Iterable[CoreTask | CropTask],
        keep: Keep | Keeps = KEEP_NOTHING,
        slopes: Derivatives | None = None,
    ) -> Iterator[Any]:
        """Work on vectors whose cores the worker keeps, one core after the other."""
        for task in tasks:
            call = Call(core_call(task, slopes), settings, task, slopes, keep.of(self._info[0]))
            yield self._attempt(call)[0]

    def peak_rss(self) -> tuple[int, ...]:
        """This process's peak: worker and driver are the same here."""
        return (self._worker.peak_rss(),)

    def close(self) -> None:
        """Nothing to free."""

    def _attempt(self, call: Call) -> tuple[Any, int]:
        self._on_work(given(0, call.task))
        done = 0
        try:
            result = _attempt(self._worker, call)
            done = call.pixel_steps
        finally:
            self._on_work(returned(0, call.task, done))
        return result


def _attempt(worker: Worker, call: Call) -> tuple[Any, int]:
    """The result and how many attempts it took. Raises WorkFailedError after `MAX_ATTEMPTS`."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            return call.on(worker), attempt
        except (StoppedError, ResourceError):  # the same worker will not have more memory next time
            raise
        except DeviceError as error:  # nor will this process have its GPU again
            raise DeviceError(f"{error}; resume the run, which starts a new process") from error
        except (RuntimeError, MemoryError, ArithmeticError, TilefarmError) as error:
            failure = error
    reason = in_a_line(failure)
    message = f"{name_of(call.task)} failed {MAX_ATTEMPTS} times, the last time with: {reason}"
    raise WorkFailedError(message, call, reason) from failure


class _Ticker:
    """Reports a worker's progress twice a second while the block runs.

    What the report raises comes out of the block, as it would without a thread.
    """

    def __init__(self, worker: Worker, on_progress: Callable[[Progress], None]) -> None:
        self._worker = worker
        self._on_progress = on_progress
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: Exception | None = None

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def _run(self) -> None:
        while not self._stop.wait(PROGRESS_SECONDS):
            progress = self._worker.progress()
            if progress is not None:
                try:
                    self._on_progress(progress)
                except Exception as error:  # noqa: BLE001 - raised again in the main thread
                    self._error = error
                    return
