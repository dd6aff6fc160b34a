"""One round of a level: every tile solved once, durable batch by batch, then blended."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np

from tilefarm import faults
from tilefarm.adam_moments import blend_moments, gradients_before, hands_on, planes, read_moments
from tilefarm.canvas.blend import blend
from tilefarm.canvas.tile_store import TileStore
from tilefarm.errors import TilefarmError
from tilefarm.events import (
    LevelSolved,
    Listener,
    PiecesProgress,
    RoundFinished,
    StepsProgress,
    TileFinished,
)
from tilefarm.execute.protocol import Batch, BatchDone, Executor, Progress
from tilefarm.files import reserve
from tilefarm.geometry import Box
from tilefarm.image.regions import RawRegions
from tilefarm.image.window import open_raw, raw_bytes, read_window
from tilefarm.pauses import Pauses
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.halo import receptive_field
from tilefarm.plan.layers import deepest_of
from tilefarm.prepare import Prepared
from tilefarm.rundir.journal import Journal, RoundDone, TileDone
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.snapshots import LevelSnapshots
from tilefarm.solve.contract import LevelTargets, Picture, SolverSettings
from tilefarm.solve.tasks import AdamMoments, TileSolution, TileTask
from tilefarm.spec.regions import is_masked, regions_of
from tilefarm.statistics_cache import StatisticsCache
from tilefarm.targets import Pieces, measure_sums, picture_moments


@dataclass(frozen=True)
class RunTools:
    """What every level of a run works with."""

    prepared: Prepared
    run: RunDir
    journal: Journal
    state: RunState
    executor: Executor
    settings: SolverSettings
    batch: int
    listen: Listener
    statistics: StatisticsCache | None = None
    """Of style pictures, where several runs share them."""
    pauses: Pauses = field(default_factory=Pauses)


def level_regions(tools: RunTools, level: LevelPlan) -> RawRegions | None:
    """Where a level's styles act, written beside its content; None where they act everywhere."""
    if not is_masked(tools.prepared.job):
        return None
    return RawRegions(tools.run.regions(level.index), len(regions_of(tools.prepared.job)))


class Round:
    """One pass over all tiles of a level, and their blend."""

    def __init__(
        self, tools: RunTools, level: LevelPlan, number: int, store: TileStore, targets: LevelTargets
    ) -> None:
        self._tools = tools
        self._level = level
        self._number = number
        self._store = store
        self._targets = targets
        self._snapshots = LevelSnapshots(tools.prepared, tools.run, level)

    def render(self) -> None:
        """Solve the tiles that are not on record yet, blend all, and put the round on record."""
        tools, level = self._tools, self._level
        begin = tools.pauses.worked()
        missing = deque(self._missing_batches())
        if missing:
            if self._number == 0:
                self._snapshots.of_canvas(0)
            self._solve(missing)
        canvas = tools.run.canvas(level.index)
        reserve(canvas, raw_bytes(level.size))  # where a resumed run found it cut off
        crc = blend(self._store, level.grid, canvas)
        self._snapshots.of_canvas((self._number + 1) * level.iterations)
        tiles = tools.state.tiles_done(level.index, self._number).values()
        plan = tools.prepared.plan
        blends_moments = self._uses_moments and hands_on(plan, level, self._number)
        moments_crc = blend_moments(tools.run, level, self._store) if blends_moments else None
        faults.reached("blend: means blended")
        line = RoundDone(
            level=level.index,
            round=self._number,
            canvas_crc=crc,
            loss_first=fmean(tile.loss_first for tile in tiles),
            loss_last=fmean(tile.loss_last for tile in tiles),
            seconds=tools.pauses.worked() - begin,
            moments_crc=moments_crc,
        )
        tools.journal.append(line)
        tools.state.apply(line)
        tools.listen(RoundFinished(level.index, self._number, line.loss_first, line.loss_last, line.seconds))

    def _solve(self, missing: deque[int]) -> None:
        """Solve and keep these batches. For a pause those that are out come back first.

        Raises RuntimeError where one never comes: its slots would be blended as they are.
        """
        tools, awaited = self._tools, set(missing)
        tools.pauses.rest()
        targets = self._round_targets()

        def handed_out() -> Iterator[Batch]:
            while missing and not tools.pauses.asked():
                yield self._batch(missing.popleft())

        while missing:
            tools.pauses.rest()
            for batch in tools.executor.solve(tools.settings, targets, handed_out(), self._on_progress):
                self._keep(batch)
                awaited.discard(batch.index)
        if awaited:
            raise RuntimeError(f"batch {min(awaited)} was never finished")

    def _missing_batches(self) -> list[int]:
        """The numbers of the batches whose tiles are not all in their slots."""
        level = self._level
        done = self._tools.state.tiles_done(level.index, self._number)
        return [
            number
            for number in range(-(-level.grid.tiles // self._tools.batch))
            if not all(
                index in done and self._store.holds(index, done[index].crc) for index in self._indices(number)
            )
        ]

    def _batch(self, number: int) -> Batch:
        """A batch is always the same tiles, so that a resumed run repeats the same arithmetic."""
        return Batch(number, tuple(self._task(index) for index in self._indices(number)))

    def _indices(self, number: int) -> range:
        start = number * self._tools.batch
        return range(start, min(start + self._tools.batch, self._level.grid.tiles))

    def _round_targets(self) -> LevelTargets:
        """The level's targets, with the whole picture's statistics where drift is corrected.

        A resumed round measures them again, from the same canvas: it changes only when all tiles are done.
        """
        tools, level = self._tools, self._level
        if level.grid.is_whole or not tools.prepared.job.tiles.drift_correction:
            return self._targets
        field = receptive_field(tools.prepared.job.network.name, deepest_of(tools.prepared.job))
        core = tools.prepared.job.tiles.side
        regions = level_regions(tools, level)
        pieces = Pieces.of(tools.run.canvas(level.index), level.size, core, field, regions)
        counter = itertools.count(1)

        def on_piece() -> None:
            tools.listen(PiecesProgress(level.index, "measuring", next(counter), pieces.count))

        sums = measure_sums(tools.executor, tools.settings, pieces, on_piece)
        return replace(
            self._targets, key=f"{self._targets.key}-{self._number}", pictures=picture_moments(sums)
        )

    def _task(self, index: int) -> TileTask:
        level, run = self._level, self._tools.run
        box, regions = level.grid.box(index), level_regions(self._tools, level)
        return TileTask(
            index=index,
            image=read_window(open_raw(run.canvas(level.index), level.size), box),
            content=read_window(open_raw(run.content(level.index), level.size), box),
            iterations=level.iterations,
            regions=None if regions is None else regions.window(level.size, box),
            moments=self._moments(box),
            recording=self._snapshots.recording if level.grid.is_whole else None,
        )

    @property
    def _uses_moments(self) -> bool:
        return planes(self._tools.settings) > 1

    def _moments(self, box: Box) -> AdamMoments | None:
        if not self._uses_moments:
            return None
        count = gradients_before(self._tools.prepared.plan, self._level, self._number)
        return read_moments(self._tools.run, self._level, box, count)

    def _keep(self, batch: BatchDone) -> None:
        """Make solved tiles durable: all their pixels first, then their lines."""
        for solution in batch.solutions:
            if not np.isfinite(_planes_of(solution)).all():
                raise TilefarmError(
                    f"tile {solution.index} came back with values that are not finite numbers"
                )
            self._snapshots.of_worker(solution.frames)
        tools = self._tools
        crcs = self._store.write({solution.index: _planes_of(solution) for solution in batch.solutions})
        lines = [
            TileDone(
                level=self._level.index,
                round=self._number,
                tile=solution.index,
                crc=crcs[solution.index],
                loss_first=solution.first.total,
                loss_last=solution.last.total,
                rollbacks=solution.rollbacks,
                attempts=batch.attempts,
                gone_wrong=solution.gone_wrong,
            )
            for solution in batch.solutions
        ]
        tools.journal.append(*lines)
        for solution, line in zip(batch.solutions, lines, strict=True):
            tools.state.apply(line)
            self._tell(solution, batch.attempts)

    def _tell(self, solution: TileSolution, attempts: int) -> None:
        tools = self._tools
        if solution.curve:
            weighted = tuple(losses.weighted(tools.settings) for losses in solution.curve)
            tools.listen(LevelSolved(self._level.index, solution.curve, weighted))
        tools.listen(
            TileFinished(
                level=self._level.index,
                round=self._number,
                tile=solution.index,
                done=len(tools.state.tiles_done(self._level.index, self._number)),
                total=self._level.grid.tiles,
                first=solution.first,
                last=solution.last,
                weighted=solution.last.weighted(tools.settings),
                iterations=solution.iterations,
                rollbacks=solution.rollbacks,
                seconds=solution.seconds,
                attempts=attempts,
            )
        )

    def _on_progress(self, progress: Progress) -> None:
        self._tools.listen(
            StepsProgress(
                level=self._level.index,
                round=self._number,
                tile=progress.batch * self._tools.batch,
                iteration=progress.iteration,
                iterations=self._level.iterations,
                loss=progress.loss,
            )
        )


def _planes_of(solution: TileSolution) -> Picture:
    """What goes into a tile's slot: (height, width, 3), or with Adam's means (3, height, width, 3)."""
    if solution.moments is None:
        return solution.image
    return np.stack([solution.image, solution.moments.gradient, solution.moments.square])
