"""The farm: workers as Ray actors; the dispatcher hands out their work.

Ray's own task retries stay off: they do not cover a worker that ran out of memory, and the driver must
know what was repeated. Actors are restarted by Ray when their process dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

import tilefarm
from tilefarm.errors import ClusterError
from tilefarm.events import WorkerChanged, WorkEvent
from tilefarm.execute.actor import Actor
from tilefarm.execute.answers import answers_of_all
from tilefarm.execute.call import Call, Task, WorkFailedError, given, name_of, returned
from tilefarm.execute.cluster import Layout, leave
from tilefarm.execute.deadlines import Patience
from tilefarm.execute.dispatch import IN_FLIGHT, Dispatcher, Errand
from tilefarm.execute.health import Fleet, last_line
from tilefarm.execute.order import in_order
from tilefarm.execute.protocol import Batch, BatchDone, Keep, Progress, Worker, WorkerInfo
from tilefarm.solve.contract import LevelTargets, SolverSettings, Weights
from tilefarm.solve.tasks import (
    Derivatives,
    Measurement,
    MeasureTask,
    MissingState,
    PieceGradient,
    PieceSums,
    PieceTask,
)

READY_SECONDS = 180.0
ANSWER_SECONDS = 5.0
"""For what is good to know and not worth a long wait."""


class RayExecutor:
    """One actor per worker of the layout. Ray must be initialised (`cluster.start_local` or `join`)."""

    def __init__(
        self,
        make_worker: Callable[[Weights, str, int], Worker],
        weights: Weights,
        layout: Layout,
        patience: Patience | None = None,
    ) -> None:
        """`make_worker(weights, device, threads)` makes a `protocol.Worker` in the actor's process.

        `patience` says how long a worker may be silent before it counts as hung.
        """
        self._weights = ray.put(weights)
        self._on_work: Callable[[WorkEvent], None] = lambda event: None
        options: dict[str, Any] = {
            "num_cpus": layout.threads,
            "num_gpus": layout.gpus,
            "max_restarts": -1,
            "max_task_retries": 0,
            "concurrency_groups": {"work": IN_FLIGHT, "watch": 1},
        }
        actor = ray.remote(**options)(Actor)
        on_device = "cuda" if layout.gpus else "cpu"
        self._actors: list[Any] = [
            actor.remote(make_worker, on_device, layout.threads) for _ in range(layout.workers)
        ]
        try:
            self._info = self._wait_until_ready()
            pulses = answers_of_all(self._actors, lambda actor: actor.alive.remote(), READY_SECONDS)
            self._fleet = Fleet(self._actors, pulses, patience)
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """The workers, as they were when the farm started."""
        return self._info

    def listen(
        self,
        listener: Callable[[WorkerChanged], None],
        on_work: Callable[[WorkEvent], None] = lambda event: None,
    ) -> None:
        """From now on tell this listener what becomes of workers."""
        self._fleet.begin_run(listener)
        self._on_work = on_work

    def solve(
        self,
        settings: SolverSettings,
        targets: LevelTargets,
        batches: Iterable[Batch],
        on_progress: Callable[[Progress], None],
    ) -> Iterator[BatchDone]:
        """Optimise all batches; the targets go through the object store once."""

        def tell(progress: Progress | None) -> None:
            if progress is not None:
                on_progress(progress)

        errand: Errand[Batch] = replace(
            self._errand(lambda batch: Call("solve", settings, batch, targets)),
            ask=lambda actor: actor.progress.remote(),
            tell=tell,
        )
        for batch, solutions, attempts in Dispatcher(self._fleet, errand).run(batches):
            yield BatchDone(batch.index, solutions, attempts)

    def measure(self, settings: SolverSettings, tasks: Iterable[MeasureTask]) -> Iterator[Measurement]:
        """Statistics of all pieces."""
        errand: Errand[MeasureTask] = self._errand(lambda task: Call("measure", settings, task))
        for _, measurement, _ in Dispatcher(self._fleet, errand).run(tasks):
            yield measurement

    def piece_sums(
        self, settings: SolverSettings, keep: Keep, tasks: Iterable[PieceTask]
    ) -> Iterator[PieceSums | MissingState]:
        """Pass 1 of the exact method."""
        return self._pieces(tasks, lambda task: Call("piece_sums", settings, task, None, keep))

    def piece_gradients(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, tasks: Iterable[PieceTask]
    ) -> Iterator[PieceGradient | MissingState]:
        """Pass 2 of the exact method; the derivatives go through the object store once."""
        return self._pieces(tasks, lambda task: Call("piece_gradient", settings, task, slopes, keep))

    def _pieces(self, tasks: Iterable[PieceTask], to_call: Callable[[PieceTask], Call]) -> Iterator[Any]:
        """Pieces go to the worker that keeps their state and come back in order."""
        errand: Errand[PieceTask] = replace(self._errand(to_call), home=lambda task: task.index)
        return in_order(result for _, result, _ in Dispatcher(self._fleet, errand).run(tasks))

    def _errand(self, to_call: Callable[[Any], Call]) -> Errand[Any]:
        """`to_call(task)` is the same call for every task of a pass, but for the task."""
        shared: list[Any] = []

        def start(actor: Any, task: Task) -> Any:
            call = to_call(task)
            if not shared:
                shared.append(None if call.shared is None else ray.put(call.shared))
            return actor.do.remote(self._weights, shared[0], replace(call, shared=None))

        def on_returned(worker: int, task: Task, done: bool) -> None:
            work = to_call(task).effort.work if done else 0
            self._on_work(returned(worker, task, work))

        return Errand(
            start,
            name_of,
            effort=lambda task: to_call(task).effort,
            give_up=lambda task, message, error: WorkFailedError(message, to_call(task), error),
            on_given=lambda worker, task: self._on_work(given(worker, task)),
            on_returned=on_returned,
        )

    def peak_rss(self) -> tuple[int, ...]:
        """Every worker's largest resident size so far, in bytes; workers that do not answer are left out."""
        asked = [actor.peak_rss.remote() for actor in self._actors]
        if not asked:
            return ()
        answered, _ = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS)
        peaks = []
        for reference in asked:
            if reference in answered:
                with suppress(RayError):
                    peaks.append(ray.get(reference))
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
            info = answers_of_all(self._actors, lambda actor: actor.info.remote(self._weights), READY_SECONDS)
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
        return info
