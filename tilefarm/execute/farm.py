"""The farm: workers as Ray actors; the dispatcher hands out their work.

Ray's own task retries stay off: they do not cover a worker that ran out of memory, and the driver must
know what was repeated. Actors are restarted by Ray when their process dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tilefarm.events import WorkerChanged, WorkEvent
from tilefarm.execute.actor import Actor
from tilefarm.execute.assignment import IN_FLIGHT
from tilefarm.execute.call import Call, core_call, piece_effort
from tilefarm.execute.cluster import leave
from tilefarm.execute.deadlines import Effort, Patience
from tilefarm.execute.dispatch import Errand
from tilefarm.execute.errands import Errands
from tilefarm.execute.health import Fleet
from tilefarm.execute.joining import Joining
from tilefarm.execute.layout import Layout, Slot
from tilefarm.execute.order import in_order
from tilefarm.execute.protocol import (
    KEEP_NOTHING,
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
from tilefarm.execute.roll import Roll
from tilefarm.solve.contract import LevelTargets, SolverSettings, Weights
from tilefarm.solve.core_tasks import CoreGroup, CoreTask, CropTask, Place
from tilefarm.solve.tasks import (
    Derivatives,
    Measurement,
    MeasureTask,
    MissingState,
    PieceGradient,
    PieceSums,
    PieceTask,
)

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
        roll: Roll | None = None,
    ) -> None:
        """`make_worker(weights, device, threads)` makes a `protocol.Worker` in the actor's process.

        `patience` says how long a worker may be silent before it counts as hung. `roll` has workers
        come and go with the nodes of a cluster. Raises ClusterError where the first workers do not start.
        """
        self._make_worker = make_worker
        placed = ray.put(weights)
        self._fleet = Fleet(patience=patience)
        self._fleet.grows = roll is not None
        self._joining = Joining(self._fleet, self._start, lambda actor: actor.greet.remote(placed), roll)
        self._errands = Errands(self._fleet, self._joining.info, placed)
        try:
            self._joining.begin(layout)
        except BaseException:
            self.close()
            raise
        self._fleet.on_look = self._joining.look

    def _start(self, slot: Slot) -> Any:
        """An actor in a place. On a node that leaves it must not be started elsewhere, where others are."""
        options: dict[str, Any] = {
            "num_cpus": slot.cores,
            "num_gpus": slot.gpus,
            "max_restarts": -1,
            "max_task_retries": 0,
            "concurrency_groups": {"work": IN_FLIGHT, "watch": 1},
        }
        if slot.node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(slot.node, soft=False)
        on_device = "cuda" if slot.gpus else "cpu"
        return ray.remote(**options)(Actor).remote(self._make_worker, on_device, slot.threads)

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """All workers so far by their numbers, as they were when they joined."""
        return tuple(self._joining.info)

    @property
    def present(self) -> tuple[WorkerInfo, ...]:
        """Those that are not gone for good."""
        return tuple(info for number, info in enumerate(self.workers) if not self._fleet.is_gone(number))

    @property
    def up(self) -> frozenset[int]:
        """Those that can work now."""
        return frozenset(self._fleet.up())

    def listen(
        self,
        listener: Callable[[WorkerChanged], None],
        on_work: Callable[[WorkEvent], None] = lambda event: None,
    ) -> None:
        """From now on tell this listener what becomes of workers."""
        self._fleet.begin_run(listener)
        self._joining.unfit = lambda info: None
        self._errands.on_work = on_work

    def leave_out(self, unfit: Callable[[WorkerInfo], str | None]) -> None:
        """From now on workers for which `unfit` gives a reason get no work, as long as there is another."""
        self._joining.leave_out(unfit)

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
            self._errands.anywhere(lambda batch: Call("solve", settings, batch, targets)),
            ask=lambda actor: actor.progress.remote(),
            tell=tell,
        )
        for batch, solutions, attempts in self._errands.run(errand, batches):
            yield BatchDone(batch.index, solutions, attempts)

    def measure(self, settings: SolverSettings, tasks: Iterable[MeasureTask]) -> Iterator[Measurement]:
        """Statistics of all pieces."""
        errand: Errand[MeasureTask] = self._errands.anywhere(lambda task: Call("measure", settings, task))
        for _, measurement, _ in self._errands.run(errand, tasks):
            yield measurement

    def piece_sums(
        self,
        settings: SolverSettings,
        keep: Keep | Keeps,
        tasks: Iterable[PieceTask],
        full: FullTask | None = None,
    ) -> Iterator[PieceSums | MissingState]:
        """Pass 1 of the exact method."""
        self._errands.balance()
        errand = self._errands.at_home(
            lambda task: Call("piece_sums", settings, task, None, KEEP_NOTHING), keep, full
        )
        return in_order(result for _, result, _ in self._errands.run(errand, tasks))

    def piece_gradients(
        self,
        settings: SolverSettings,
        keep: Keep | Keeps,
        slopes: Derivatives,
        tasks: Iterable[PieceTask],
        full: FullTask | None = None,
    ) -> Iterator[PieceGradient | MissingState]:
        """Pass 2 of the exact method; the derivatives go through the object store once."""
        errand = self._errands.at_home(
            lambda task: Call("piece_gradient", settings, task, slopes, KEEP_NOTHING), keep, full
        )
        return in_order(result for _, result, _ in self._errands.run(errand, tasks))

    def share_out(self, settings: SolverSettings, places: Sequence[Place]) -> None:
        """Before vectors are handed out: pieces next to each other go to the same worker, and machine."""
        self._errands.share_out(places, lambda place: piece_effort(settings, place.core))

    def is_uneven(self) -> bool:
        """Whether other shares of what was shared out fit the paces that are known now clearly better."""
        return self._errands.is_uneven()

    def crews(self, settings: SolverSettings, places: Sequence[Place]) -> Crews:
        """Where the vectors that were handed out are; nowhere while no worker is there."""
        return self._errands.crews(places, lambda place: piece_effort(settings, place.core))

    def with_cores(
        self,
        settings: SolverSettings,
        tasks: Iterable[CoreTask | CropTask],
        keep: Keep | Keeps = KEEP_NOTHING,
        slopes: Derivatives | None = None,
    ) -> Iterator[Any]:
        """Work on vectors whose cores lie with the workers of their pieces."""

        def to_call(task: CoreTask | CoreGroup | CropTask) -> Call:
            return Call(core_call(task, slopes), settings, task, slopes, KEEP_NOTHING)

        asked: list[int] = []

        def noted() -> Iterator[CoreTask | CropTask]:
            for task in tasks:
                asked.append(task.index)
                yield task

        def effort(task: CoreTask | CoreGroup | CropTask) -> Effort:
            return piece_effort(settings, task.core)

        errand = self._errands.where_cores_are(to_call, keep, effort)
        groups = self._errands.by_home(noted(), effort)
        results = (result for _, result, _ in self._errands.run(errand, groups))
        parts = (part for each in results for part in (each if isinstance(each, tuple) else (each,)))
        return in_order(parts, asked)

    def peak_rss(self) -> tuple[int, ...]:
        """Every worker's largest resident size so far, in bytes; workers that do not answer are left out."""
        asked = [actor.peak_rss.remote() for actor in self._fleet.actors]
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
        self._joining.end()
        for actor in self._fleet.actors:
            ray.kill(actor)
        self._fleet.actors.clear()
        leave()
