"""The snapshots of one level: small copies of the picture as it was after so many steps, each with its sum.

They decide nothing. Each is written before the step or the round that it shows is left behind, and a resumed
level makes up for the one that a kill kept from being written, so that a killed run has the same set as an
undisturbed one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tilefarm import faults
from tilefarm.files import replacing, telling_when_full
from tilefarm.geometry import Box, Size
from tilefarm.image.engine import saving
from tilefarm.image.preview import write_snapshot
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.frames import last_step, snapshot_steps
from tilefarm.prepare import Prepared
from tilefarm.rundir.layout import RunDir
from tilefarm.sealed import is_whole_picture, seal_file
from tilefarm.solve.tasks import Recording


class LevelSnapshots:
    """Keeps a level's snapshots, where the job asks for any. One that is there already is not read again."""

    def __init__(self, prepared: Prepared, run: RunDir, level: LevelPlan) -> None:
        self._run = run
        self._level = level
        self._every = snapshot_steps(prepared.job, prepared.plan)[level.index]
        self._long_side = prepared.job.snapshots.long_side

    @property
    def recording(self) -> Recording:
        """What the worker that solves the whole level as one tile shall hand back with it."""
        box = self._level.grid.box(0)
        size = self._level.size
        inside = Box(-box.left, -box.top, size.width - box.left, size.height - box.top)
        return Recording(self._every, inside, self._long_side)

    def wants(self, step: int) -> bool:
        """Whether the picture after so many steps is one to keep."""
        return bool(self._every) and (step % self._every == 0 or step == last_step(self._level))

    def of_canvas(self, step: int) -> None:
        """Keep the level's canvas as the picture after `step` steps."""
        self._write(step, self._run.canvas(self._level.index), self._level.size, Box.of(self._level.size))

    def of_point(self, step: int, point: Path) -> None:
        """Keep the exact optimizer's point, the level with its border, if the picture of this step is due."""
        if self.wants(step):
            self._write(step, point, self._level.grid.tile, self.recording.inside)

    def of_worker(self, frames: Iterable[tuple[int, bytes]]) -> None:
        """Keep the files that came with the solution of a level that a worker solved whole."""
        for step, data in frames:
            path = self._prepare(step)
            with telling_when_full(path), replacing(path) as temporary:
                temporary.write_bytes(data)
                seal_file(temporary)
            faults.reached("snapshot: written")

    def _write(self, step: int, source: Path, size: Size, inside: Box) -> None:
        if self._every:
            path = self._prepare(step)
            if not is_whole_picture(path):
                with saving(path), replacing(path) as temporary:
                    write_snapshot(source, size, inside, temporary, self._long_side)
                    seal_file(temporary)
                faults.reached("snapshot: written")

    def _prepare(self, step: int) -> Path:
        path = self._run.snapshot(self._level.index, step)
        path.parent.mkdir(exist_ok=True)
        return path
