"""The actor: a worker in a process of its own, started and restarted by Ray."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from tilefarm.execute.call import Call
from tilefarm.execute.process import Pulse, peak_rss, pulse
from tilefarm.execute.protocol import Progress, Worker, WorkerInfo
from tilefarm.execute.resident import Resident, fetched, published
from tilefarm.solve.contract import LevelTargets, Weights
from tilefarm.solve.tasks import Derivatives, MissingState

_Result = TypeVar("_Result")


class Actor:
    """Runs a `protocol.Worker` in a Ray actor; `watch` calls answer while `work` is under way.

    One thread of its own does all the work. The calls that wait for it, as many as are in flight, have their
    arguments there when it comes to them, and send one result while it works on the next.

    The weights come with every call, by reference and without a copy: a restarted actor has them again.
    """

    def __init__(self, make_worker: Callable[[Weights, str, int], Worker], device: str, threads: int) -> None:
        self._make_worker = make_worker
        self._device = device
        self._threads = threads
        self._worker: Resident | None = None
        self._thread = ThreadPoolExecutor(1)

    @ray.method(concurrency_group="work")
    def greet(self, weights: Weights) -> tuple[WorkerInfo, Pulse]:
        """Load the network and describe the worker."""
        return self._do(weights, lambda worker: worker.info()), pulse()

    @ray.method(concurrency_group="work")
    def do(self, weights: Weights, shared: LevelTargets | Derivatives | None, call: Call) -> Any:
        """Do a call. `shared` comes beside it: inside it, Ray would leave a reference as it is.

        What a task needs of other workers is fetched while the call before is still under way.
        """
        try:
            task = fetched(call.task, ray.get)
        except RayError:  # its owner is gone, and what it had with it
            return MissingState(call.task.index)
        return published(self._do(weights, replace(call, task=task, shared=shared).on), ray.put)

    @ray.method(concurrency_group="watch")
    def progress(self) -> Progress | None:
        """Where the current `solve` is."""
        return None if self._worker is None else self._worker.progress()

    @ray.method(concurrency_group="watch")
    def peak_rss(self) -> int:
        """The largest resident size of this process so far, in bytes."""
        return peak_rss()

    @ray.method(concurrency_group="watch")
    def alive(self) -> Pulse:
        """Answers as soon as the process is up."""
        return pulse()

    def _do(self, weights: Weights, work: Callable[[Resident], _Result]) -> _Result:
        return self._thread.submit(lambda: work(self._ready(weights))).result()

    def _ready(self, weights: Weights) -> Resident:
        if self._worker is None:
            self._worker = Resident(self._make_worker(weights, self._device, self._threads))
        return self._worker
