"""The farm: workers as Ray actors; the dispatcher hands out their work.

Ray's own task retries stay off: they do not cover a worker that ran out of memory, and the driver must
know what was repeated. Actors are restarted by Ray when their process dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayError

import tilefarm
from tilefarm.errors import ClusterError
from tilefarm.execute.cluster import Layout, leave
from tilefarm.execute.dispatch import IN_FLIGHT, Dispatcher, last_line
from tilefarm.execute.order import in_order
from tilefarm.execute.process import peak_rss
from tilefarm.execute.protocol import Batch, BatchDone, Keep, Progress, Worker, WorkerInfo
from tilefarm.execute.sound import Judged
from tilefarm.solve.contract import LevelTargets, SolverSettings, Weights
from tilefarm.solve.tasks import (
    Derivatives,
    Measurement,
    MeasureTask,
    MissingState,
    PieceGradient,
    PieceSums,
    PieceTask,
    TileSolution,
)

READY_SECONDS = 180.0

_Result = TypeVar("_Result")


class RayExecutor:
    """One actor per worker of the layout. Ray must be initialised (`cluster.start_local` or `join`)."""

    def __init__(
        self,
        make_worker: Callable[[Weights, str, int], Worker],
        weights: Weights,
        layout: Layout,
    ) -> None:
        """`make_worker(weights, device, threads)` makes a `protocol.Worker` in the actor's process."""
        self._weights = ray.put(weights)
        options: dict[str, Any] = {
            "num_cpus": layout.threads,
            "num_gpus": layout.gpus,
            "max_restarts": -1,
            "max_task_retries": 0,
            "concurrency_groups": {"work": IN_FLIGHT, "watch": 1},
        }
        actor = ray.remote(**options)(_Actor)
        on_device = "cuda" if layout.gpus else "cpu"
        self._actors: list[Any] = [
            actor.remote(make_worker, on_device, layout.threads) for _ in range(layout.workers)
        ]
        try:
            self._info = self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """The workers, as they were when the farm started."""
        return self._info

    def solve(
        self,
        settings: SolverSettings,
        targets: LevelTargets,
        batches: Iterable[Batch],
        on_progress: Callable[[Progress], None],
    ) -> Iterator[BatchDone]:
        """Optimise all batches; the targets go through the object store once."""
        shared = ray.put(targets)
        dispatcher: Dispatcher[Batch] = Dispatcher(
            self._actors,
            lambda actor, batch: actor.solve.remote(self._weights, settings, shared, batch),
            lambda batch: f"tile {batch.tasks[0].index}",
            ask=lambda actor: actor.progress.remote(),
            tell=lambda progress: None if progress is None else on_progress(progress),
        )
        for batch, solutions, attempts in dispatcher.run(batches):
            yield BatchDone(batch.index, solutions, attempts)

    def measure(self, settings: SolverSettings, tasks: Iterable[MeasureTask]) -> Iterator[Measurement]:
        """Statistics of all pieces."""
        dispatcher: Dispatcher[MeasureTask] = Dispatcher(
            self._actors,
            lambda actor, task: actor.measure.remote(self._weights, settings, task),
            lambda task: f"piece {task.index}",
        )
        for _, measurement, _ in dispatcher.run(tasks):
            yield measurement

    def piece_sums(
        self, settings: SolverSettings, keep: Keep, tasks: Iterable[PieceTask]
    ) -> Iterator[PieceSums | MissingState]:
        """Pass 1 of the exact method."""
        return self._pieces(
            tasks, lambda actor, task: actor.piece_sums.remote(self._weights, settings, keep, task)
        )

    def piece_gradients(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, tasks: Iterable[PieceTask]
    ) -> Iterator[PieceGradient | MissingState]:
        """Pass 2 of the exact method; the derivatives go through the object store once."""
        shared = ray.put(slopes)
        return self._pieces(
            tasks,
            lambda actor, task: actor.piece_gradient.remote(self._weights, settings, keep, shared, task),
        )

    def _pieces(self, tasks: Iterable[PieceTask], call: Callable[[Any, PieceTask], Any]) -> Iterator[Any]:
        """Pieces go to the worker that keeps their state and come back in order."""
        dispatcher: Dispatcher[PieceTask] = Dispatcher(
            self._actors, call, lambda task: f"piece {task.index}", lambda task: task.index
        )
        return in_order(result for _, result, _ in dispatcher.run(tasks))

    def peak_rss(self) -> tuple[int, ...]:
        """Every worker's largest resident size so far, in bytes; workers that do not answer are left out."""
        peaks = []
        for actor in self._actors:
            try:
                peaks.append(ray.get(actor.peak_rss.remote(), timeout=5))
            except RayError:
                continue
        return tuple(peaks)

    def close(self) -> None:
        """End the actors and leave Ray; an embedded Ray ends with it."""
        if not ray.is_initialized():
            return
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        leave()

    def _wait_until_ready(self) -> tuple[WorkerInfo, ...]:
        try:
            info = ray.get(
                [actor.info.remote(self._weights) for actor in self._actors], timeout=READY_SECONDS
            )
        except GetTimeoutError as error:
            raise ClusterError(
                f"the workers were not ready after {READY_SECONDS:.0f} s; "
                "look at 'ray status' for what the cluster is waiting for"
            ) from error
        except RayError as error:
            raise ClusterError(f"a worker did not start: {last_line(error)}") from error
        strangers = {worker.version for worker in info} - {tilefarm.__version__}
        if strangers:
            raise ClusterError(
                f"this is tilefarm {tilefarm.__version__} and the cluster's workers have "
                f"{', '.join(sorted(strangers))}; install the same version on every node"
            )
        return tuple(info)


class _Actor:
    """Runs a `protocol.Worker` in a Ray actor; `watch` calls answer while `work` is under way.

    One thread of its own does all the work. The calls that wait for it, as many as are in flight, have their
    arguments there when it comes to them, and send one result while it works on the next.

    The weights come with every call, by reference and without a copy: a restarted actor has them again.
    """

    def __init__(self, make_worker: Callable[[Weights, str, int], Worker], device: str, threads: int) -> None:
        self._make_worker = make_worker
        self._device = device
        self._threads = threads
        self._worker: Worker | None = None
        self._thread = ThreadPoolExecutor(1)

    @ray.method(concurrency_group="work")
    def info(self, weights: Weights) -> WorkerInfo:
        """Describe the worker."""
        return self._do(weights, lambda worker: worker.info())

    @ray.method(concurrency_group="work")
    def solve(
        self, weights: Weights, settings: SolverSettings, targets: LevelTargets, batch: Batch
    ) -> tuple[TileSolution, ...]:
        """Optimise every tile of a batch."""
        return self._do(weights, lambda worker: worker.solve(settings, targets, batch))

    @ray.method(concurrency_group="work")
    def measure(self, weights: Weights, settings: SolverSettings, task: MeasureTask) -> Measurement:
        """Statistics of one piece of a picture."""
        return self._do(weights, lambda worker: worker.measure(settings, task))

    @ray.method(concurrency_group="work")
    def piece_sums(
        self, weights: Weights, settings: SolverSettings, keep: Keep, task: PieceTask
    ) -> PieceSums | MissingState:
        """Pass 1 of the exact method on one piece."""
        return self._do(weights, lambda worker: worker.piece_sums(settings, keep, task))

    @ray.method(concurrency_group="work")
    def piece_gradient(
        self,
        weights: Weights,
        settings: SolverSettings,
        keep: Keep,
        slopes: Derivatives,
        task: PieceTask,
    ) -> PieceGradient | MissingState:
        """Pass 2 of the exact method on one piece."""
        return self._do(weights, lambda worker: worker.piece_gradient(settings, keep, slopes, task))

    @ray.method(concurrency_group="watch")
    def progress(self) -> Progress | None:
        """Where the current `solve` is."""
        return None if self._worker is None else self._worker.progress()

    @ray.method(concurrency_group="watch")
    def peak_rss(self) -> int:
        """The largest resident size of this process so far, in bytes."""
        return peak_rss()

    @ray.method(concurrency_group="watch")
    def alive(self) -> bool:
        """Answers as soon as the process is up."""
        return True

    def _do(self, weights: Weights, work: Callable[[Worker], _Result]) -> _Result:
        return self._thread.submit(lambda: work(self._ready(weights))).result()

    def _ready(self, weights: Weights) -> Worker:
        if self._worker is None:
            self._worker = Judged(self._make_worker(weights, self._device, self._threads))
        return self._worker
