"""A worker that keeps cores of an optimizer's vectors beside the network, and puts crops together itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tilefarm.execute.protocol import Keep, Worker
from tilefarm.execute.sound import Judged, is_sound
from tilefarm.solve.coding import decoded
from tilefarm.solve.contract import SolverSettings
from tilefarm.solve.core_store import CoreStore
from tilefarm.solve.core_tasks import (
    Collect,
    CoreDone,
    CoreGroup,
    CoreTask,
    CropSums,
    CropTask,
    Handle,
    Join,
    Part,
)
from tilefarm.solve.tasks import Derivatives, MissingState


class Resident(Judged):
    """Any worker, with a store of cores."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self._store = CoreStore()

    def core(self, task: CoreTask) -> CoreDone | MissingState:
        """Something with a core's vectors."""
        return self._store.do(task)

    def cores(self, group: CoreGroup) -> tuple[CoreDone | MissingState, ...]:
        """The same with several cores."""
        return tuple(map(self.core, group.tasks))

    def crop_sums(self, settings: SolverSettings, keep: Keep, task: CropTask) -> CropSums | MissingState:
        """Pass 1 on a crop that is put together here."""
        crop = self._store.crop(task)
        if crop is None:
            return MissingState(task.index)
        sums = self.piece_sums(settings, keep, replace(task.piece, crop=crop))
        if isinstance(sums, MissingState):
            return replace(sums, has_core=True)
        across, down = self._store.variation(task, settings.tv_exponent)
        self._store.keep_styles(task, sums.styles)
        return CropSums(task.index, replace(sums, styles={}), is_sound(sums), across, down)

    def crop_gradient(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, task: CropTask
    ) -> CoreDone | MissingState:
        """Pass 2 on the same crop; the gradient stays here and with the neighbours."""
        crop = None if task.has_graph else self._store.kept_crop(task)
        if crop is None and not task.has_graph:
            return MissingState(task.index)
        found = self.piece_gradient(settings, keep, slopes, replace(task.piece, crop=crop))
        if isinstance(found, MissingState):  # of a new process everything is gone
            return replace(found, has_core=self._store.kept_crop(task) is not None)
        gradient = decoded(found.gradient)
        if not np.isfinite(gradient).all():
            return CoreDone(task.index, is_finite=False)
        return self._store.share(task, gradient)


def fetched(task: Any, fetch: Callable[[Sequence[Handle]], Sequence[Any]]) -> Any:
    """The task with the pictures that its handles stand for."""
    if isinstance(task, CropTask):
        return replace(task, parts=_fetched(task.parts, fetch))
    if isinstance(task, CoreGroup):
        return CoreGroup(tuple(fetched(each, fetch) for each in task.tasks))
    if isinstance(task, CoreTask) and isinstance(task.action, Collect):
        action = task.action
        return replace(task, action=replace(action, parts=_fetched(action.parts, fetch)))
    if isinstance(task, CoreTask) and isinstance(task.action, Join):
        branches = task.action.others
        found = fetch([branch.styles for branch in branches])
        others = (replace(branch, styles=styles) for branch, styles in zip(branches, found, strict=True))
        return replace(task, action=replace(task.action, others=tuple(others)))
    return task


def published(result: Any, publish: Callable[[Any], Handle]) -> Any:
    """The result with handles in place of what it has for other workers."""
    if isinstance(result, tuple):
        return tuple(published(each, publish) for each in result)
    if not isinstance(result, CoreDone):
        return result
    branches = result.branches
    if not result.to_driver:
        branches = tuple(replace(branch, styles=publish(branch.styles)) for branch in branches)
    return replace(result, parts=tuple(publish(part) for part in result.parts), branches=branches)


def _fetched(parts: Sequence[Part], fetch: Callable[[Sequence[Handle]], Sequence[Any]]) -> tuple[Part, ...]:
    found = fetch([part.pixels for part in parts])
    return tuple(replace(part, pixels=pixels) for part, pixels in zip(parts, found, strict=True))
