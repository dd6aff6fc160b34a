"""What the runs of a sweep share: workers that stay up, a network loaded once, measured statistics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tilefarm.errors import ResourceError
from tilefarm.execute.open import ExecutorChoice, Fits, open_executor, unlimited
from tilefarm.execute.protocol import Executor
from tilefarm.plan.estimate import Needs
from tilefarm.prepare import most_workers
from tilefarm.rundir.journal import read_started
from tilefarm.rundir.layout import RunDir
from tilefarm.solve.contract import Precision, Weights
from tilefarm.solve.weights import load_weights
from tilefarm.spec.model import Job
from tilefarm.statistics_cache import StatisticsCache


class Crew:
    """One executor at a time, kept while the runs agree on weights, device, workers and memory."""

    def __init__(self, choice: ExecutorChoice, cache: Path, runs: Sequence[tuple[Job, RunDir]] = ()) -> None:
        """`cache`: the folder of measured statistics; `runs`: all of the sweep, in their order."""
        self._runs = runs
        self._choice = choice
        self._cache = cache
        self._executor: Executor | None = None
        self._executor_key: object = None
        self._weights: Weights | None = None
        self._weights_key: object = None

    def weights(self, job: Job) -> Weights:
        """The job's network, loaded again only where it is another one than the last. Raises JobError."""
        network = job.network
        key = (network.name, network.preprocessing, _version(network.weights))
        if self._weights is None or self._weights_key != key:
            self._weights = None  # makes room for the next
            self._weights = load_weights(network.name, network.weights, network.preprocessing)
            self._weights_key = key
        return self._weights

    def make_room(self, job: Job, weights: Weights, required: Needs) -> None:
        """Send the workers home where the job cannot use them, or needs the memory that they still hold."""
        if self._executor is None:
            return
        fits = self._executor_key == _wishes(job, weights)
        if fits and self._choice.address is None:
            try:
                fits = most_workers(job, required) >= len(self._executor.workers)
            except ResourceError:
                fits = False
        if not fits:
            self.close()

    def executor(self, job: Job, weights: Weights, most: int, fits: Fits = unlimited) -> Executor:
        """The workers that are up, or new ones. Raises as `open_executor`."""
        key = _wishes(job, weights)
        if self._executor is None or self._executor_key != key:
            self.close()
            device, workers = job.compute.device, job.compute.workers
            count = None if workers == "auto" else workers
            self._executor = open_executor(self._choice, weights, device, count, most, fits)
            self._executor_key = key
        return self._executor

    def precision(self, job: Job) -> Precision | None:
        """What `auto` means in this sweep: what it meant for its first run that was started, maybe long ago.

        It is timed anew by every session, on a machine that may be busy: without an agreement, runs that are
        to be compared would differ in it. None where no run of the same device has been started.
        """
        for other, run in self._runs:
            if (other.compute.precision, other.compute.device) == ("auto", job.compute.device):
                started = read_started(run.journal)
                if started is not None:
                    return started.precision
        return None

    def statistics(self, weights: Weights) -> StatisticsCache:
        """Where the statistics of style pictures are kept."""
        return StatisticsCache(self._cache, weights.sha256)

    def close(self) -> None:
        """End the workers. After a failure too: what they were doing is not the next run's."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.close()


def _wishes(job: Job, weights: Weights) -> object:
    """What runs must agree on to share workers."""
    compute = job.compute
    return (weights.sha256, weights.preprocessing, compute.device, compute.workers, compute.memory)


def _version(weights: object) -> object:
    """What a file of weights is known by."""
    if not isinstance(weights, Path):
        return weights
    status = weights.stat()
    return (weights, status.st_mtime_ns, status.st_size, status.st_ino)
