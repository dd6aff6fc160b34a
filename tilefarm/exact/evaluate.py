"""One evaluation of the whole picture's objective: two passes over its pieces on the workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tilefarm import faults
from tilefarm.canvas.total_variation import add_gradient, total_variation
from tilefarm.execute.protocol import Executor, Keep
from tilefarm.execute.sound import is_sound
from tilefarm.files import reserve, zero
from tilefarm.geometry import Box, Size
from tilefarm.image.regions import RawRegions
from tilefarm.image.window import open_raw, raw_bytes, read_window
from tilefarm.plan.halo import Piece
from tilefarm.solve.contract import LevelTargets, Losses, SolverSettings
from tilefarm.solve.tasks import Derivatives, MissingState, PieceGradient, PieceSums, PieceTask
from tilefarm.solve.whole import WholeObjective, WholeSums

_Result = TypeVar("_Result")
_INFINITE = Losses(math.inf, math.inf, math.inf, math.inf)


class _AgainError(Exception):
    """The pass is done again with everything sent: a worker no longer has what it kept, or numbers are not
    finite, and that may come from what it kept."""


class _DivergedError(Exception):
    """Numbers are not finite in the pass that was done again either: it is the point."""


@dataclass(frozen=True)
class WholePicture:
    """What is evaluated: a level, cut into pieces."""

    key: str
    """Names the run and level."""
    size: Size
    pieces: tuple[Piece, ...]
    content: Path
    """The raw content, of this size without the border."""
    border: int = 0
    """Pixels of reflection on every side that the picture has and the files of content and regions lack."""
    regions: RawRegions | None = None
    """The shares of regions; None where there is one style for all."""


class WholeEvaluator:
    """Loss and gradient of a whole picture; both are the same whatever the number of workers."""

    def __init__(
        self,
        executor: Executor,
        settings: SolverSettings,
        targets: LevelTargets,
        picture: WholePicture,
        keep: Keep,
        on_piece: Callable[[int, int], None],
    ) -> None:
        """`on_piece(done, total)` is told of every finished piece of an evaluation, both passes counted."""
        self._executor = executor
        self._settings = settings
        self._objective = WholeObjective(settings, targets)
        self._picture = picture
        self._keep = keep
        self._on_piece = on_piece
        self._held_contents: set[int] = set()
        self._evaluation = 0
        self.losses = Losses(0.0, 0.0, 0.0, 0.0)
        """Of the last evaluation."""
        self.sums = WholeSums()
        """Of the last evaluation."""
        self.on_gone_wrong: Callable[[int], None] = lambda count: None
        """Told how many results were thrown away because they were not finite."""

    def __call__(self, point: Path, gradient: Path) -> float:
        """Evaluate at the raw picture `point`; the gradient is written to the raw file `gradient`.

        Infinity, and no gradient, where the numbers of a piece are not finite and are not either when the
        pass over the pieces is done again.
        """
        try:
            graphs = self._twice(lambda again: self._sum(point, again))
            evaluated = self._objective.evaluate(self.sums, self._total_variation(point))
            self.losses, slopes = evaluated.losses, evaluated.derivatives
            self._twice(
                lambda again: self._add_gradients(point, gradient, slopes, set() if again else graphs, again)
            )
        except _DivergedError:
            self.losses = _INFINITE
            return math.inf
        settings, scales = self._settings, self._settings.scales
        weight = scales.overall * settings.tv_weight * scales.tv
        if weight:
            add_gradient(point, self._picture.size, gradient, weight, settings.tv_exponent)
        return self.losses.total

    def loss(self, point: Path) -> float:
        """The loss alone, by the first pass; infinity as above."""
        try:
            self._twice(lambda again: self._sum(point, again))
        except _DivergedError:
            self.losses = _INFINITE
        else:
            self.losses = self._objective.evaluate(self.sums, self._total_variation(point)).losses
        return self.losses.total

    def _twice(self, work: Callable[[bool], _Result]) -> _Result:
        """A pass over the pieces, told whether it is the second time."""
        try:
            return work(False)
        except _AgainError:
            self._held_contents = set()
            return work(True)

    def _check(self, part: PieceSums | PieceGradient, again: bool) -> None:
        if not is_sound(part):
            self.on_gone_wrong(1)
            raise _DivergedError if again else _AgainError

    def _total_variation(self, point: Path) -> float:
        return total_variation(point, self._picture.size, self._settings.tv_exponent)

    def _sum(self, point: Path, again: bool) -> set[int]:
        """Pass 1; returns the pieces whose graphs are kept."""
        self.sums = WholeSums()
        self._evaluation += 1
        graphs, contents = set(), set()
        tasks = self._tasks(point, graphs=set(), contents=self._held_contents)
        for part in self._executor.piece_sums(self._settings, self._keep, tasks):
            if isinstance(part, MissingState):
                raise _AgainError
            self.on_gone_wrong(part.gone_wrong)
            self._check(part, again)
            self.sums.add(part)
            if part.holds_graph:
                graphs.add(part.index)
            if part.holds_content:
                contents.add(part.index)
            self._on_piece(part.index + 1, 2 * len(self._picture.pieces))
        self._held_contents = contents
        return graphs

    def _add_gradients(
        self, point: Path, gradient: Path, slopes: Derivatives, graphs: set[int], again: bool
    ) -> None:
        """Pass 2: every piece's gradient, halo included, added in order. Pieces in `graphs` need no crop."""
        size, count = self._picture.size, len(self._picture.pieces)
        reserve(gradient, raw_bytes(size))
        zero(gradient)
        faults.reached("exact: gradient reserved")
        tasks = self._tasks(point, graphs, graphs | self._held_contents)
        for part in self._executor.piece_gradients(self._settings, self._keep, slopes, tasks):
            if isinstance(part, MissingState):
                raise _AgainError
            self._check(part, again)
            box = self._picture.pieces[part.index].crop
            pixels = open_raw(gradient, size, "r+")
            pixels[box.top : box.bottom, box.left : box.right] += part.gradient
            del pixels  # opened anew so that no more than a crop stays mapped; the optimizer syncs the file
            faults.reached("exact: piece added")
            self._on_piece(count + part.index + 1, 2 * count)

    def _tasks(self, point: Path, graphs: set[int], contents: set[int]) -> Iterator[PieceTask]:
        """The pieces in order; those in `graphs` without their crop, those in `contents` without content."""
        picture, border = self._picture, self._picture.border
        inner = Size(picture.size.width - 2 * border, picture.size.height - 2 * border)
        regions = picture.regions
        for index, piece in enumerate(picture.pieces):
            crop = piece.crop
            place = Box(crop.left - border, crop.top - border, crop.right - border, crop.bottom - border)
            yield PieceTask(
                index=index,
                level=picture.key,
                evaluation=self._evaluation,
                core=piece.core_in_crop,
                crop=None if index in graphs else read_window(open_raw(point, picture.size), crop),
                content=None if index in contents else read_window(open_raw(picture.content, inner), place),
                regions=None if index in contents or regions is None else regions.window(inner, place),
            )
