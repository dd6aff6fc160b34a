"""A stand-in for Adam in tiles: its means matter, and come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.standins import Mixer
from tilefarm.execute.protocol import Batch
from tilefarm.solve.contract import LevelTargets, SolverSettings
from tilefarm.solve.tasks import AdamMoments, TileSolution


class Remembering(Mixer):
    """Moves each tile against its mean gradient; the means come from before, and go on."""

    def __init__(self, log: Path | None = None) -> None:
        super().__init__(log=log)
        self.counts: list[int] = []

    def solve(
        self, settings: SolverSettings, targets: LevelTargets, batch: Batch
    ) -> tuple[TileSolution, ...]:
        mixed = super().solve(settings, targets, batch)
        found = []
        for task, solution in zip(batch.tasks, mixed, strict=True):
            gradient = task.image - task.content + np.float32(0.001 * task.index)
            before = task.moments or AdamMoments(gradient, gradient**2, 0)
            self.counts.append(before.count)
            assert before.square.min() >= 0
            means = AdamMoments(
                0.9 * before.gradient + np.float32(0.1) * gradient,
                0.9 * before.square + np.float32(0.1) * gradient**2,
                before.count + task.iterations,
            )
            found.append(
                TileSolution(
                    index=task.index,
                    image=(solution.image - np.float32(0.1) * means.gradient).astype(np.float32),
                    first=solution.first,
                    last=solution.last,
                    iterations=task.iterations,
                    rollbacks=0,
                    seconds=0.001,
                    moments=means,
                )
            )
        return tuple(found)
