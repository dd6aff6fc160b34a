"""A stand-in for the network in the exact method: two features of a pixel, in closed form.

f = (r + g, b - r) at every pixel of every layer. So the sums over positions and their slopes by the pixels
are a few lines of numpy, and an optimizer has something to do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.standins import Mixer
from tilefarm.execute.protocol import Keep
from tilefarm.solve.contract import SolverSettings
from tilefarm.solve.tasks import (
    Derivatives,
    LayerSums,
    Measurement,
    MeasureTask,
    PieceGradient,
    PieceSums,
    PieceTask,
)

_MIX = np.array([[1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])


class Analytic(Mixer):
    """Counts its evaluations of pieces in `solved` and in the log."""

    def measure(self, settings: SolverSettings, task: MeasureTask) -> Measurement:
        core = task.core
        features = _features(task.crop[core.top : core.bottom, core.left : core.right])
        layers = [name for name, _ in settings.style_layers]
        contents = [name for name, _ in settings.content_layers]
        return Measurement(
            index=task.index,
            positions=dict.fromkeys([*layers, *contents], len(features)),
            styles=dict.fromkeys(layers, _sums(features)) if task.kind == "style" else {},
            squares=dict.fromkeys(contents, float((features**2).sum())) if task.kind == "content" else {},
            seconds=0.0,
        )

    def piece_sums(self, settings: SolverSettings, keep: Keep, task: PieceTask) -> PieceSums:
        self.solved += 1
        if self._log is not None:
            with self._log.open("ab", buffering=0) as file:
                file.write(f"{task.index}\n".encode())
        features, content = _of(task)
        layers = [name for name, _ in settings.style_layers]
        contents = [name for name, _ in settings.content_layers]
        error = float(((features - content) ** 2).sum())
        return PieceSums(
            index=task.index,
            positions=dict.fromkeys([*layers, *contents], len(features)),
            styles=dict.fromkeys(layers, _sums(features)),
            content_errors=dict.fromkeys(contents, error),
            holds_graph=False,
            holds_content=False,
        )

    def piece_gradient(
        self, settings: SolverSettings, keep: Keep, slopes: Derivatives, task: PieceTask
    ) -> PieceGradient:
        assert task.crop is not None
        features, content = _of(task)
        by_feature = np.zeros_like(features)
        for name, slope in slopes.sums.items():
            by_feature += slope[0] + 2 * features @ slopes.products[name][0].astype(np.float64)
        for slope_of_error in slopes.content_errors.values():
            by_feature += 2 * slope_of_error * (features - content)
        gradient = np.zeros(task.crop.shape, dtype=np.float32)
        core = task.core
        inside = gradient[core.top : core.bottom, core.left : core.right]
        inside[...] = (by_feature @ _MIX).reshape(inside.shape)
        return PieceGradient(task.index, gradient)


def _features(picture: NDArray[np.float32]) -> NDArray[np.float64]:
    """Shape (positions, 2)."""
    flat: NDArray[np.float64] = picture.reshape(-1, 3).astype(np.float64)
    features: NDArray[np.float64] = flat @ _MIX.T
    return features


def _of(task: PieceTask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The features of the picture's core and of the content's."""
    assert task.crop is not None
    assert task.content is not None
    core = task.core
    rows, columns = slice(core.top, core.bottom), slice(core.left, core.right)
    return _features(task.crop[rows, columns]), _features(task.content[rows, columns])


def _sums(features: NDArray[np.float64]) -> LayerSums:
    count = np.array([float(len(features))])
    return LayerSums(count, features.sum(axis=0)[None], (features.T @ features)[None])
