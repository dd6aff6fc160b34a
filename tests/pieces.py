"""A stand-in for workers of the exact method: its two passes in numpy, on two features of every pixel."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.standins import Mixer
from tilefarm.execute.protocol import Batch, Keep, Worker
from tilefarm.geometry import Box
from tilefarm.solve.coding import coded_gradient, decoded
from tilefarm.solve.contract import LayerWeights, LevelTargets, Picture, Regions, SolverSettings, Weights
from tilefarm.solve.folding import folded
from tilefarm.solve.tasks import (
    AdamMoments,
    Derivatives,
    LayerSums,
    Measurement,
    MeasureTask,
    MissingState,
    PieceGradient,
    PieceSums,
    PieceTask,
    TileSolution,
    TileTask,
)

Features = NDArray[np.float64]
_Fixed = tuple[Picture, Regions | None]


class PieceMixer(Mixer):
    """A worker for both methods whose style features are a pixel's brightness and its neighbour's.

    Brightness is the mean of the channels; the neighbour is one to the right and one down, held at the
    picture's edge. So a core's features depend on its halo, and the halo has a share of the gradient.
    Every layer has these two features; its content error is the pixels' own sum((x - c)^2).

    Like a real worker it keeps contents, and crops in place of graphs, and answers MissingState for what it
    no longer has.
    """

    def __init__(self, share: float = 0.5, log: Path | None = None, kill_in_piece: int | None = None) -> None:
        """Each pass over a piece adds a line to `log`; number `kill_in_piece`, from 1, kills this process."""
        super().__init__(share, log)
        self._kill_in_piece = kill_in_piece
        self.passes = 0
        self._level = ""
        self._evaluation = 0
        self._fixed: dict[int, _Fixed] = {}
        self._crops: dict[int, Picture] = {}

    def measure(self, settings: SolverSettings, task: MeasureTask) -> Measurement:
        features = _features(task.crop, task.core)
        sums = _layer_sums(features, _shares(task.regions, task.core, len(features)))
        square = float(np.square(_cut(task.crop, task.core), dtype=np.float64).sum())
        styles = _names(settings.style_layers) if task.kind == "style" else []
        contents = _names(settings.content_layers) if task.kind == "content" else []
        return Measurement(
            index=task.index,
            positions=dict.fromkeys([*styles, *contents], len(features)),
            styles=dict.fromkeys(styles, sums),
            squares=dict.fromkeys(contents, square),
            seconds=0.0,
        )

    def solve(
        self, settings: SolverSettings, targets: LevelTargets, batch: Batch
    ) -> tuple[TileSolution, ...]:
        """With Adam its means come back too, as if every step had the way to the content as its gradient."""
        solutions = super().solve(settings, targets, batch)
        if settings.adam is None:
            return solutions
        return tuple(
            replace(solution, moments=_moments(task, solution.image))
            for task, solution in zip(batch.tasks, solutions, strict=True)
        )

    def piece_sums(self, settings: SolverSettings, keep: Keep, task: PieceTask) -> PieceSums | MissingState:
        self._note(task)
        self._crops.pop(task.index, None)
        fixed = self._known(keep, task)
        if task.crop is None or fixed is None:
            return MissingState(task.index)
        if holds_graph := len(self._crops) < keep.graphs:
            self._crops[task.index] = decoded(task.crop)
        content, regions = fixed
        crop = decoded(task.crop)
        features = _features(crop, task.core)
        difference = _cut(crop, task.core).astype(np.float64) - _cut(content, task.core)
        sums = _layer_sums(features, _shares(regions, task.core, len(features)))
        contents, styles = _names(settings.content_layers), _names(settings.style_layers)
        return PieceSums(
            index=task.index,
            positions=dict.fromkeys([*styles, *contents], len(features)),
            styles=dict.fromkeys(styles, folded(sums, np.float32 if task.coding == "half" else np.float64)),
            content_errors=dict.fromkeys(contents, float(np.square(difference).sum())),
            holds_graph=holds_graph,
            holds_content=task.index in self._fixed,
        )

    def piece_gradient(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, task: PieceTask
    ) -> PieceGradient | MissingState:
        self._note(task)
        kept = self._crops.pop(task.index, None)
        sent, fixed = task.crop if kept is None else kept, self._known(keep, task)
        if sent is None or fixed is None:
            return MissingState(task.index)
        crop, (content, regions) = decoded(sent), fixed
        core, features = task.core, _features(crop, task.core)
        shares = _shares(regions, core, len(features))
        by_features = np.zeros_like(features)
        for layer, by_sums in slopes.sums.items():
            by_features += shares @ by_sums
            by_features += 2 * np.einsum("mr,rij,mj->mi", shares, slopes.products[layer], features)
        gradient = _carried_back(by_features, crop, core)
        difference = _cut(crop, core).astype(np.float64) - _cut(content, core)
        gradient[core.top : core.bottom, core.left : core.right] += (
            2 * sum(slopes.content_errors.values()) * difference
        )
        return PieceGradient(task.index, coded_gradient(gradient.astype(np.float32), task.coding))

    def _note(self, task: PieceTask) -> None:
        """Count the pass, and forget what belongs to another level or evaluation."""
        self.passes += 1
        if self._log is not None:
            with self._log.open("ab", buffering=0) as file:
                file.write(f"{task.index}\n".encode())
        if self.passes == self._kill_in_piece:
            os.kill(os.getpid(), signal.SIGKILL)
        if task.level != self._level:
            self._level, self._fixed, self._crops = task.level, {}, {}
        if task.evaluation != self._evaluation:
            self._evaluation, self._crops = task.evaluation, {}

    def _known(self, keep: Keep, task: PieceTask) -> _Fixed | None:
        """What does not change during a level; kept while there is room."""
        if task.content is None:
            return self._fixed.get(task.index)
        fixed = (decoded(task.content), task.regions)
        if task.index in self._fixed or len(self._fixed) < keep.contents:
            self._fixed[task.index] = fixed
        return fixed


def _moments(task: TileTask, image: Picture) -> AdamMoments:
    gradient = image - task.content
    before = 0
    if task.moments is not None:
        gradient, before = (gradient + task.moments.gradient) / 2, task.moments.count
    return AdamMoments(gradient, np.square(gradient), before + task.iterations)


def _names(layers: LayerWeights) -> list[str]:
    return [name for name, _ in layers]


def _cut(picture: Picture, box: Box) -> Picture:
    return picture[box.top : box.bottom, box.left : box.right]


def _neighbours(crop: Picture, core: Box) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the core's neighbours, held at the crop's edge."""
    rows = np.minimum(np.arange(core.top, core.bottom) + 1, crop.shape[0] - 1)
    columns = np.minimum(np.arange(core.left, core.right) + 1, crop.shape[1] - 1)
    return rows, columns


def _features(crop: Picture, core: Box) -> Features:
    """Brightness of the core's pixels and of their neighbours, shape (pixels, 2)."""
    brightness = crop.mean(axis=2, dtype=np.float64)
    rows, columns = _neighbours(crop, core)
    own = brightness[core.top : core.bottom, core.left : core.right]
    return np.stack([own, brightness[np.ix_(rows, columns)]], axis=-1).reshape(-1, 2)


def _shares(regions: Regions | None, core: Box, pixels: int) -> Features:
    """Of the regions in the core's pixels, shape (pixels, regions)."""
    if regions is None:
        return np.ones((pixels, 1))
    return _cut(regions, core).reshape(pixels, -1).astype(np.float64)


def _layer_sums(features: Features, shares: Features) -> LayerSums:
    """Without BLAS, whose sums depend on the number of threads."""
    return LayerSums(
        shares.sum(axis=0),
        np.einsum("mr,mi->ri", shares, features),
        np.einsum("mr,mi,mj->rij", shares, features, features),
    )


def _carried_back(by_features: Features, crop: Picture, core: Box) -> Features:
    """From slopes by the core's features to slopes by the crop's pixels, (height, width, 3)."""
    own, neighbour = np.moveaxis(by_features.reshape(core.height, core.width, 2), -1, 0)
    result = np.zeros(crop.shape)
    result[core.top : core.bottom, core.left : core.right] += own[:, :, None] / 3
    rows, columns = _neighbours(crop, core)
    np.add.at(result, np.ix_(rows, columns), neighbour[:, :, None] / 3)
    return result


def make_mixer(weights: Weights, device: str, threads: int) -> Worker:
    """`make_worker` of a farm of these."""
    return PieceMixer()
