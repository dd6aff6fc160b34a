"""One evaluation of the whole picture's objective: two passes over its pieces on the workers."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tilefarm import faults
from tilefarm.canvas.total_variation import add_gradient, total_variation
from tilefarm.execute.protocol import Executor, FullTask, Keep, Keeps
from tilefarm.execute.sound import is_sound
from tilefarm.files import reserve, zero
from tilefarm.geometry import Box, Size
from tilefarm.image.regions import RawRegions
from tilefarm.image.window import open_raw, raw_bytes, read_window
from tilefarm.plan.cut import Cut
from tilefarm.plan.halo import Piece
from tilefarm.solve.coding import Coded, Coding, coded_pixels, decoded
from tilefarm.solve.contract import LevelTargets, Losses, SolverSettings
from tilefarm.solve.tasks import Derivatives, MissingState, PieceGradient, PieceSums, PieceTask
from tilefarm.solve.traffic import Traffic, array_bytes
from tilefarm.solve.whole import WholeObjective, WholeSums
from tilefarm.spec.transport import Transport

_INFINITE = Losses(math.inf, math.inf, math.inf, math.inf)


class AgainError(Exception):
    """The pass is done again with everything sent: a worker no longer has what it kept, or numbers are not
    finite, and that may come from what it kept."""


class DivergedError(Exception):
    """Numbers are not finite in the pass that was done again either: it is the point."""


@dataclass
class Held:
    """The pieces of which workers have something since the first pass, or, contents, since an earlier one."""

    contents: set[int] = field(default_factory=set)
    graphs: set[int] = field(default_factory=set)
    crops: set[int] = field(default_factory=set)


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

    @property
    def cut(self) -> Cut:
        """The picture and its cores."""
        return Cut.of(self.size, (piece.core for piece in self.pieces))


class WholeEvaluator:
    """Loss and gradient of a whole picture; both are the same whatever the number of workers."""

    def __init__(
        self,
        executor: Executor,
        settings: SolverSettings,
        targets: LevelTargets,
        picture: WholePicture,
        keep: Keep | Keeps,
        on_piece: Callable[[int, int], None],
        transport: Transport = "auto",
    ) -> None:
        """`on_piece(done, total)` is told of every finished piece of an evaluation, both passes counted.

        `transport`: how pictures travel. `half` is part of what is computed, on any executor; the others give
        the same numbers, and `auto` packs for workers on other machines.
        """
        self._executor = executor
        self._settings = settings
        self._objective = WholeObjective(settings, targets)
        self._picture = picture
        self._keep = keep
        self._on_piece = on_piece
        self._transport = transport
        self._held = Held()
        self._evaluation = 0
        self.losses = Losses(0.0, 0.0, 0.0, 0.0)
        """Of the last evaluation."""
        self.sums = WholeSums()
        """Of the last evaluation."""
        self.on_gone_wrong: Callable[[int], None] = lambda count: None
        """Told how many results were thrown away because they were not finite."""
        self.traffic = Traffic()
        """Of the last evaluation."""
        self.on_traffic: Callable[[Traffic], None] = lambda traffic: None
        """Told it when the evaluation is done."""

    def __call__(self, point: Path, gradient: Path) -> float:
        """Evaluate at the raw picture `point`; the gradient is written to the raw file `gradient`.

        Infinity, and no gradient, where the numbers of a piece are not finite and are not either when the
        pass over the pieces is done again.
        """
        self.traffic = Traffic(evaluations=1)
        try:
            return self._loss_and_gradient(point, gradient)
        except DivergedError:
            self.losses = _INFINITE
            return math.inf
        finally:
            self.on_traffic(self.traffic)

    def _loss_and_gradient(self, point: Path, gradient: Path) -> float:
        self._twice(lambda again: self._sum(point, again))
        evaluated = self._objective.evaluate(self.sums, self._total_variation(point))
        self.losses, slopes = evaluated.losses, evaluated.derivatives
        self._twice(lambda again: self._add_gradients(point, gradient, slopes, again))
        self._add_variation(point, gradient)
        return self.losses.total

    @property
    def cut(self) -> Cut:
        """The picture and its cores."""
        return self._picture.cut

    def loss(self, point: Path) -> float:
        """The loss alone, by the first pass; infinity as above."""
        try:
            self._twice(lambda again: self._sum(point, again))
        except DivergedError:
            self.losses = _INFINITE
        else:
            self.losses = self._objective.evaluate(self.sums, self._total_variation(point)).losses
        return self.losses.total

    def _twice(self, work: Callable[[bool], None]) -> None:
        """A pass over the pieces, told whether it is the second time."""
        try:
            work(False)
        except AgainError:
            self._held = Held()
        else:
            return
        # Not inside the handler: there the error would keep the first pass, and its calls, under way.
        work(True)

    def _check(self, sound: bool, again: bool) -> None:
        if not sound:
            self.on_gone_wrong(1)
            raise DivergedError if again else AgainError

    def _total_variation(self, point: Path) -> float:
        return total_variation(point, self._picture.cut, self._settings.tv_exponent)

    @property
    def _variation_weight(self) -> float:
        settings, scales = self._settings, self._settings.scales
        return scales.overall * settings.tv_weight * scales.tv

    def _add_variation(self, point: Path, gradient: Path) -> None:
        """The total variation's share of the gradient."""
        if weight := self._variation_weight:
            add_gradient(point, self._picture.size, gradient, weight, self._settings.tv_exponent)

    def _sum(self, point: Path, again: bool) -> None:
        """Pass 1."""
        self.sums = WholeSums()
        self._evaluation += 1
        held = Held()
        tasks = self._tasks(point, crops=set(), contents=self._held.contents)
        found = self._executor.piece_sums(
            self._settings, self._keep, self._counted(tasks, "sums_out"), self._full(point, "sums_out")
        )
        for part in found:
            if isinstance(part, MissingState):
                raise AgainError
            self.on_gone_wrong(part.gone_wrong)
            self._check(is_sound(part), again)
            self.traffic += Traffic(sums_back=array_bytes(part))
            self.sums.add(part)
            self._note_kept(part, held)
            self._on_piece(part.index + 1, 2 * len(self._picture.pieces))
        self._held = held

    def _note_kept(self, part: PieceSums, held: Held) -> None:
        """Note what a piece's worker has kept."""
        if part.holds_graph:
            held.graphs.add(part.index)
        if part.holds_crop:
            held.crops.add(part.index)
        if part.holds_content:
            held.contents.add(part.index)

    def _add_gradients(self, point: Path, gradient: Path, slopes: Derivatives, again: bool) -> None:
        """Pass 2: every piece's gradient, halo included, added in order."""
        size, count = self._picture.size, len(self._picture.pieces)
        reserve(gradient, raw_bytes(size))
        zero(gradient)
        faults.reached("exact: gradient reserved")
        self._count_slopes(slopes)
        held = self._held
        tasks = self._counted(
            self._tasks(point, held.graphs | held.crops, held.graphs | held.contents), "gradients_out"
        )
        full = self._full(point, "gradients_out")
        for part in self._executor.piece_gradients(self._settings, self._keep, slopes, tasks, full):
            if isinstance(part, MissingState):
                raise AgainError
            self.traffic += Traffic(gradients_back=array_bytes(part))
            found = decoded(part.gradient)
            self._check(is_sound(PieceGradient(part.index, found)), again)
            box = self._picture.pieces[part.index].crop
            pixels = open_raw(gradient, size, "r+")
            pixels[box.top : box.bottom, box.left : box.right] += found
            del pixels  # opened anew so that no more than a crop stays mapped; the optimizer syncs the file
            faults.reached("exact: piece added")
            self._on_piece(count + part.index + 1, 2 * count)

    def _count_slopes(self, slopes: Derivatives) -> None:
        machines = len({worker.node for worker in self._executor.present})
        self.traffic += Traffic(gradients_out=machines * array_bytes(slopes))

    def _counted(self, tasks: Iterable[PieceTask], way: str) -> Iterator[PieceTask]:
        for task in tasks:
            self.traffic += Traffic(**{way: array_bytes(task)})
            yield task

    def _full(self, point: Path, way: str) -> FullTask:
        """Makes tasks for workers that keep nothing; counted on top of what was sent instead."""
        nothing: set[int] = set()
        coding = self._coding()
        return lambda index: next(self._counted([self._task(index, point, nothing, nothing, coding)], way))

    def _tasks(
        self, point: Path, crops: set[int], contents: set[int], turns: Iterable[int] | None = None
    ) -> Iterator[PieceTask]:
        """The pieces in order or in another, without the crops and contents of those named."""
        coding = self._coding()
        for index in range(len(self._picture.pieces)) if turns is None else turns:
            yield self._task(index, point, crops, contents, coding)

    def _task(
        self, index: int, point: Path, crops: set[int], contents: set[int], coding: Coding
    ) -> PieceTask:
        picture, border, piece = self._picture, self._picture.border, self._picture.pieces[index]
        inner = Size(picture.size.width - 2 * border, picture.size.height - 2 * border)
        regions, crop = picture.regions, piece.crop
        place = Box(crop.left - border, crop.top - border, crop.right - border, crop.bottom - border)

        def window(path: Path, size: Size, box: Box) -> Coded:
            return coded_pixels(read_window(open_raw(path, size), box), coding)

        return PieceTask(
            index=index,
            level=picture.key,
            evaluation=self._evaluation,
            core=piece.core_in_crop,
            crop=None if index in crops else window(point, picture.size, crop),
            content=None if index in contents else window(picture.content, inner, place),
            regions=None if index in contents or regions is None else regions.window(inner, place),
            coding=coding,
        )

    def _coding(self) -> Coding:
        """Of this pass: workers may have joined on other machines, or left."""
        if self._transport != "auto":
            return self._transport
        away = any(worker.node != platform.node() for worker in self._executor.present)
        return "packed" if away else "float32"
