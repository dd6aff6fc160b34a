"""One evaluation of the whole picture's objective: two passes over its pieces on the workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tilefarm.canvas.total_variation import add_gradient, total_variation
from tilefarm.execute.protocol import Executor, Keep
from tilefarm.files import reserve, zero
from tilefarm.geometry import Box, Size
from tilefarm.image.window import open_raw, raw_bytes
from tilefarm.plan.halo import Piece
from tilefarm.solve.contract import (
    OVERALL_SCALE,
    TV_SCALE,
    Derivatives,
    LevelTargets,
    Losses,
    MissingState,
    Picture,
    PieceTask,
    SolverSettings,
)
from tilefarm.solve.whole import WholeSums, derivatives, whole_losses


class _StateLostError(Exception):
    """A worker restarted and no longer has what it kept: the pass is done again with everything sent."""


@dataclass(frozen=True)
class WholePicture:
    """What is evaluated: a level, cut into pieces."""

    key: str
    """Names the run and level."""
    size: Size
    pieces: tuple[Piece, ...]
    content: Path
    """The raw content at this size."""


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
        self._targets = targets
        self._picture = picture
        self._keep = keep
        self._on_piece = on_piece
        self._content_is_kept = False
        self.losses = Losses(0.0, 0.0, 0.0, 0.0)
        """Of the last evaluation."""
        self.sums = WholeSums()
        """Of the last evaluation."""

    def __call__(self, point: Path, gradient: Path) -> float:
        """Evaluate at the raw picture `point`; the gradient is written to the raw file `gradient`."""
        try:
            held = self._sum(point, everything=not self._content_is_kept)
        except _StateLostError:
            held = self._sum(point, everything=True)
        self._content_is_kept = self._keep.content
        tv = total_variation(point, self._picture.size)
        self.losses = whole_losses(self._settings, self._targets, self.sums, tv)
        slopes = derivatives(self._settings, self._targets, self.sums)
        try:
            self._add_gradients(point, gradient, slopes, held)
        except _StateLostError:
            self._add_gradients(point, gradient, slopes, None)
        weight = OVERALL_SCALE * self._settings.tv_weight * TV_SCALE
        if weight:
            add_gradient(point, self._picture.size, gradient, weight)
        return self.losses.total

    def _sum(self, point: Path, *, everything: bool) -> set[int]:
        """Pass 1; returns the pieces whose graphs are kept. `everything`: send the content too."""
        self.sums = WholeSums()
        held = set()
        send_content = everything or not self._keep.content
        tasks = self._tasks(point, lambda index: True, lambda index: send_content)
        for part in self._executor.piece_sums(self._settings, self._keep, tasks):
            if isinstance(part, MissingState):
                raise _StateLostError
            self.sums.add(part)
            if part.holds_graph:
                held.add(part.index)
            self._on_piece(part.index + 1, 2 * len(self._picture.pieces))
        return held

    def _add_gradients(self, point: Path, gradient: Path, slopes: Derivatives, held: set[int] | None) -> None:
        """Pass 2: every piece's gradient, halo included, added in order. `held` None: nothing is kept."""
        size, count = self._picture.size, len(self._picture.pieces)
        reserve(gradient, raw_bytes(size))
        zero(gradient)
        send_crop = (lambda index: True) if held is None else (lambda index: index not in held)
        send_content = (
            (lambda index: True) if held is None or not self._keep.content else (lambda index: False)
        )
        tasks = self._tasks(point, send_crop, send_content)
        for part in self._executor.piece_gradients(self._settings, self._keep, slopes, tasks):
            if isinstance(part, MissingState):
                raise _StateLostError
            box = self._picture.pieces[part.index].crop
            pixels = open_raw(gradient, size, "r+")
            pixels[box.top : box.bottom, box.left : box.right] += part.gradient
            pixels.flush()
            del pixels
            self._on_piece(count + part.index + 1, 2 * count)

    def _tasks(
        self, point: Path, send_crop: Callable[[int], bool], send_content: Callable[[int], bool]
    ) -> Iterator[PieceTask]:
        for index, piece in enumerate(self._picture.pieces):
            yield PieceTask(
                index=index,
                level=self._picture.key,
                core=piece.core_in_crop,
                crop=self._cut(point, piece.crop) if send_crop(index) else None,
                content=self._cut(self._picture.content, piece.crop) if send_content(index) else None,
            )

    def _cut(self, path: Path, box: Box) -> Picture:
        pixels = open_raw(path, self._picture.size)
        cut: Picture = pixels[box.top : box.bottom, box.left : box.right].copy()
        return cut
