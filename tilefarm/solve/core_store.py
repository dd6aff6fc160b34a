"""What a worker keeps of an optimizer's vectors: the cores of its pieces, and what it does with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tilefarm.geometry import Box
from tilefarm.solve.branches import Branch, Styles, joined, leaf
from tilefarm.solve.contract import Picture
from tilefarm.solve.core_tasks import (
    Collect,
    Combine,
    CoreDone,
    CoreTask,
    CropTask,
    Differences,
    Dots,
    Get,
    Join,
    Norm1,
    Part,
    Place,
    Put,
)
from tilefarm.solve.tasks import MissingState
from tilefarm.solve.values import combined, dots, norm1
from tilefarm.solve.variation import add_slopes, variation_sums


@dataclass
class _Kept:
    """Of one piece."""

    vectors: dict[str, Picture] = field(default_factory=dict)
    """Their cores, shape (height, width, 3) float32."""
    around: Picture | None = None
    """Of the point that is being evaluated: the core and what lies about it."""
    reach: Box | None = None
    """The place of that in the whole picture."""
    gradient: Picture | None = None
    """Since pass 2: the piece's share of its own core's."""


class CoreStore:
    """The vectors of one level, of the pieces that are at home here."""

    def __init__(self) -> None:
        self._level = ""
        self._session = -1
        self._kept: dict[int, _Kept] = {}
        self._evaluation = -1
        self._leaves: dict[int, Branch] = {}
        """Of that evaluation, the newest one."""

    def do(self, task: CoreTask) -> CoreDone | MissingState:
        """What the task says; MissingState where a vector is not here."""
        if isinstance(task.action, Put):
            return self._put(task.place, task.action)
        if isinstance(task.action, Join):
            return self._join(task, task.action)
        kept, action = self._of(task.place), task.action
        if kept is None:
            return MissingState(task.index)
        try:
            return self._answer(task, kept, action)
        except KeyError:
            return MissingState(task.index)

    def crop(self, task: CropTask) -> Picture | None:
        """The crop of pass 1, which is kept until the next; None where something of it is missing."""
        kept = self._of(task.place)
        if kept is None or task.point not in kept.vectors:
            return None
        box = task.reach
        around = np.empty((box.height, box.width, 3), dtype=np.float32)
        core = Part(task.index, task.core, kept.vectors[task.point])
        for part in (core, *task.parts):
            _window(around, box, part.box)[...] = part.pixels
        kept.around, kept.reach = around, box
        return _window(around, box, task.crop)

    def kept_crop(self, task: CropTask) -> Picture | None:
        """That of pass 1, for pass 2."""
        kept = self._of(task.place)
        if kept is None or kept.around is None:
            return None
        return _window(kept.around, task.reach, task.crop)

    def variation(self, task: CropTask, exponent: float) -> tuple[float, float]:
        """`variation_sums` of the core, after `crop`."""
        kept = self._of(task.place)
        if kept is None or kept.around is None:
            raise ValueError("the crop comes first")
        inside = _within(task.core, task.reach)
        window = kept.around[inside.top : inside.bottom + 1, inside.left : inside.right + 1]
        return variation_sums(window, inside.size, exponent)

    def keep_styles(self, task: CropTask, styles: Styles) -> None:
        """Of pass 1, until the next one: they are joined when all pieces are done.

        A piece may be done twice, and one of an evaluation that was given up may come late.
        """
        evaluation = task.piece.evaluation
        if evaluation > self._evaluation:
            self._evaluation, self._leaves = evaluation, {}
        if evaluation == self._evaluation:
            self._leaves[task.index] = leaf(task.index, styles)

    def share(self, task: CropTask, gradient: Picture) -> CoreDone | MissingState:
        """After pass 2: keep the own core's share of the crop's gradient, and hand out the neighbours'."""
        kept = self._of(task.place)
        if kept is None:
            return MissingState(task.index)
        kept.gradient = _window(gradient, task.crop, task.core).copy()
        return CoreDone(task.index, parts=_cut(gradient, task.crop, task.boxes))

    def _answer(
        self, task: CoreTask, kept: _Kept, action: Get | Combine | Differences | Dots | Norm1 | Collect
    ) -> CoreDone | MissingState:
        index, vectors = task.index, kept.vectors
        if isinstance(action, Get):
            return CoreDone(index, pixels=vectors[action.vector])
        if isinstance(action, Combine):
            found = combined([(factor, vectors[name]) for factor, name in action.terms])
            vectors[action.target] = found
            return CoreDone(index, parts=_cut(found, task.core, action.boxes))
        if isinstance(action, Differences):
            for target, of, without in (action.one, action.other):
                vectors[target] = combined([(1.0, vectors[of]), (-1.0, vectors[without])])
            return CoreDone(index, dots([vectors[action.one[0]]], [vectors[action.other[0]]]))
        if isinstance(action, Dots):
            rows, columns = (
                [vectors[name] for name in action.rows],
                [vectors[name] for name in action.columns],
            )
            return CoreDone(index, dots(rows, columns))
        if isinstance(action, Norm1):
            return CoreDone(index, np.array([[norm1(vectors[action.vector])]]))
        return self._collect(task, kept, action)

    def _collect(self, task: CoreTask, kept: _Kept, action: Collect) -> CoreDone | MissingState:
        if kept.gradient is None or kept.around is None or kept.reach is None:
            return MissingState(task.index)
        shares = [*action.parts, Part(task.index, task.core, kept.gradient)]
        total = np.zeros((task.core.height, task.core.width, 3), dtype=np.float32)
        for part in sorted(shares, key=lambda each: each.index):
            _window(total, task.core, part.box)[...] += part.pixels
        if action.variation is not None:
            wanted, inside = action.variation, _within(task.core, kept.reach)
            add_slopes(total, kept.around, inside, wanted.size, wanted.factor, wanted.exponent)
        kept.vectors[action.target] = total
        kept.gradient = None
        return CoreDone(task.index, is_finite=bool(np.isfinite(total).all()))

    def _join(self, task: CoreTask, action: Join) -> CoreDone | MissingState:
        if self._of(task.place) is None or self._evaluation != action.evaluation:
            return MissingState(task.index)
        if not set(action.pieces) <= set(self._leaves):
            return MissingState(task.index)
        found = joined(action.others or [self._leaves[index] for index in action.pieces])
        return CoreDone(task.index, branches=found, to_driver=action.to_driver)

    def _put(self, place: Place, action: Put) -> CoreDone:
        if (place.level, place.session) != (self._level, self._session):
            self._level, self._session = place.level, place.session
            self._kept.clear()
        self._evaluation, self._leaves = -1, {}
        kept = self._kept.setdefault(place.index, _Kept())
        kept.vectors[action.vector] = np.array(action.pixels)  # else an object store would have to hold it
        return CoreDone(place.index)

    def _of(self, place: Place) -> _Kept | None:
        if (place.level, place.session) != (self._level, self._session):
            return None
        return self._kept.get(place.index)


def _within(box: Box, outer: Box) -> Box:
    return Box(box.left - outer.left, box.top - outer.top, box.right - outer.left, box.bottom - outer.top)


def _window(pixels: Picture, of: Box, box: Box) -> Picture:
    """The view of `box` in an array that shows `of`."""
    inner = _within(box, of)
    return pixels[inner.top : inner.bottom, inner.left : inner.right]


def _cut(pixels: Picture, of: Box, boxes: Iterable[Box]) -> tuple[Picture, ...]:
    return tuple(np.ascontiguousarray(_window(pixels, of, box)).copy() for box in boxes)
