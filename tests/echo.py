"""An executor that changes nothing, for tests of what is around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tests.moments import gram_sums
from tilefarm.events import WorkerChanged, WorkEvent
from tilefarm.execute.protocol import Batch, BatchDone, WorkerInfo
from tilefarm.solve.contract import Losses
from tilefarm.solve.tasks import Measurement, TileSolution


class EchoExecutor:
    """Returns every tile unchanged and every statistic as zero."""

    workers = (WorkerInfo("cpu", "test", None, 1, "float32", os.getpid(), "here", "1", 2**33, 2**34),)
    present = workers

    def listen(
        self,
        listener: Callable[[WorkerChanged], None],
        on_work: Callable[[WorkEvent], None] = lambda event: None,
    ) -> None:
        """Nothing becomes of its worker."""

    def leave_out(self, unfit: Callable[[WorkerInfo], str | None]) -> None:
        """Every worker will do."""

    def solve(
        self, settings: Any, targets: Any, batches: Iterable[Batch], report: Any
    ) -> Iterator[BatchDone]:
        losses = Losses(1.0, 1.0, 0.0, 0.0)
        for batch in batches:
            solutions = (
                TileSolution(task.index, task.image, losses, losses, task.iterations, 0, 0.0)
                for task in batch.tasks
            )
            yield BatchDone(batch.index, tuple(solutions), 1)

    def measure(self, settings: Any, tasks: Iterable[Any]) -> Iterator[Measurement]:
        for task in tasks:
            layers = settings.style_layers if task.kind == "style" else settings.content_layers
            names = [name for name, _ in layers]
            styles = gram_sums({name: np.zeros((1, 1)) for name in names if task.kind == "style"})
            squares = dict.fromkeys(names if task.kind == "content" else [], 0.0)
            yield Measurement(task.index, dict.fromkeys(names, 1), styles, squares, 0.0)

    def peak_rss(self) -> tuple[int, ...]:
        return (5,)

    def close(self) -> None:
        pass
