"""The solve of a batch of tiles: pictures in, pictures and losses out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilefarm.errors import TilefarmError
from tilefarm.solve.adam import Adam
from tilefarm.solve.cg import ConjugateGradients
from tilefarm.solve.contract import LevelTargets, Picture, SolverSettings
from tilefarm.solve.lbfgs import Lbfgs
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import BatchLosses, TileObjective, to_grey
from tilefarm.solve.recorder import Recorder
from tilefarm.solve.search import Method, Minimum, Search, Status, run
from tilefarm.solve.tasks import AdamMoments, TileSolution, TileTask

LARGEST_INCREASE = 2.0
"""A step that more than doubles a tile's loss went too far: early in a round the curvature is known
from one pair only, and such a step was seen to multiply the loss by ten thousand."""


def solve_tiles(
    network: FeatureNetwork,
    settings: SolverSettings,
    targets: LevelTargets,
    tasks: Sequence[TileTask],
    on_iteration: Callable[[int, float], None] | None = None,
) -> list[TileSolution]:
    """Optimises all tiles at once, as one batch; the solutions come in the order of `tasks`.

    A tile's result does not depend on what is in its neighbours, nor on the number of threads; on
    some devices its last bits depend on the size of the batch. `on_iteration` gets the iteration's
    number, from 1, and the mean of the tiles' losses. The seconds of a solution are its equal share of
    the batch's. Raises ValueError if the tiles differ in shape or in iterations, and TilefarmError if
    a tile's start has no finite loss.
    """
    if not tasks:
        return []
    _check_alike(tasks)
    begin = time.monotonic()
    start = _batch([task.image for task in tasks], network.device)
    content = _batch([task.content for task in tasks], network.device)
    objective = TileObjective(network, settings, targets, content, start, _regions(tasks, network.device))
    recording = tasks[0].recording if len(tasks) == 1 else None
    recorder = Recorder(recording, tasks[0].iterations) if recording else None
    first: list[BatchLosses] = []
    last: list[BatchLosses] = []

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        losses, gradient = objective.evaluate(x.view(start.shape))
        if not first:
            first.append(losses)
        if recorder:
            recorder.evaluated(losses)
        return losses.total, gradient.flatten(1)

    def evaluate_loss(x: Tensor) -> Tensor:
        last[:] = [objective.losses(x.view(start.shape))]
        if recorder:
            recorder.evaluated(last[0])
        return last[0].total

    def report(iteration: int, losses: NDArray[np.float64]) -> None:
        if recorder:
            recorder.stepped(iteration, float(losses[0]), lambda: method.result(search).view(start.shape))
        if on_iteration is not None:
            on_iteration(iteration, float(losses.mean()))

    search = Search(evaluate, start.flatten(1))
    method = _method(search, settings, tasks)
    minimum = run(search, method, evaluate, evaluate_loss, tasks[0].iterations, report)
    _check_started(tasks, minimum, settings)
    seconds = (time.monotonic() - begin) / len(tasks)
    end = minimum.x.view(start.shape)
    if settings.grey:  # sums over the history may round differently in the three channels
        end = to_grey(end)
    images = _pictures(end)
    moments = _moments(method, start.shape)
    solutions = _solutions(tasks, minimum, images, moments, first[0], last[0], seconds)
    if recorder:
        return [replace(solutions[0], curve=recorder.curve, frames=recorder.frames)]
    return solutions


def _method(search: Search, settings: SolverSettings, tasks: Sequence[TileTask]) -> Method:
    """The optimizer that the job names, with what it knows of these tiles from before."""
    if settings.optimizer == "cg":
        return ConjugateGradients(search)
    if settings.optimizer == "lbfgs":
        return Lbfgs(search, min(settings.history, max(tasks[0].iterations, 1)), LARGEST_INCREASE)
    if settings.adam is None:
        raise ValueError("Adam needs its settings")
    known = [task.moments for task in tasks if task.moments is not None]
    if not known:
        return Adam(search, settings.adam)
    if len(known) < len(tasks):
        raise ValueError("either all tiles of a batch or none must come with moments")
    device = search.x.device
    gradient = _batch([moments.gradient for moments in known], device).flatten(1)
    square = _batch([moments.square for moments in known], device).flatten(1)
    counts = np.array([moments.count for moments in known], dtype=np.float64)
    return Adam(search, settings.adam, (gradient, square, counts))


def _moments(method: Method, shape: torch.Size) -> list[AdamMoments | None]:
    """What Adam hands on, tile by tile; None for the other optimizers."""
    if not isinstance(method, Adam):
        return [None] * shape[0]
    means, squares = (_pictures(vectors.view(shape)) for vectors in (method.mean, method.square))
    return [
        AdamMoments(mean, square, int(count))
        for mean, square, count in zip(means, squares, method.count, strict=True)
    ]


def _solutions(
    tasks: Sequence[TileTask],
    minimum: Minimum,
    images: Sequence[Picture],
    moments: Sequence[AdamMoments | None],
    first: BatchLosses,
    last: BatchLosses,
    seconds: float,
) -> list[TileSolution]:
    return [
        TileSolution(
            index=task.index,
            image=images[position],
            first=first.of_tile(position),
            last=last.of_tile(position),
            iterations=minimum.iterations[position],
            rollbacks=minimum.rollbacks[position],
            seconds=seconds,
            moments=moments[position],
        )
        for position, task in enumerate(tasks)
    ]


def _check_alike(tasks: Sequence[TileTask]) -> None:
    shapes = {task.image.shape for task in tasks} | {task.content.shape for task in tasks}
    if len(shapes) > 1:
        raise ValueError(f"the tiles of a batch and their content must have one shape, got {sorted(shapes)}")
    counts = {task.iterations for task in tasks}
    if len(counts) > 1:
        raise ValueError(f"the tiles of a batch must have one number of iterations, got {sorted(counts)}")


def _check_started(tasks: Sequence[TileTask], minimum: Minimum, settings: SolverSettings) -> None:
    failed = [t.index for t, status in zip(tasks, minimum.status, strict=True) if status is Status.FAILED]
    if failed:
        raise TilefarmError(
            f"the loss of tile {', '.join(map(str, failed))} is not a finite number at its start "
            f"(precision {settings.precision}): look for non-finite pixels in the pictures, lower the "
            "objective's weights, or set compute.precision to float32"
        )


def _batch(pictures: Sequence[Picture], device: torch.device) -> Tensor:
    """Pictures (H, W, C) as one contiguous float32 tensor (B, C, H, W) on the device."""
    stacked = np.stack(pictures).astype(np.float32, copy=False)
    return torch.from_numpy(stacked).to(device).permute(0, 3, 1, 2).contiguous()


def _regions(tasks: Sequence[TileTask], device: torch.device) -> Tensor | None:
    """The tiles' shares of regions (B, R, H, W); None where there is one style for all."""
    known = [task.regions for task in tasks if task.regions is not None]
    return _batch(known, device) if known else None


def _pictures(batch: Tensor) -> list[Picture]:
    """The reverse; each picture owns its memory, so that keeping one does not keep the batch."""
    return [np.array(picture.permute(1, 2, 0).cpu().numpy(), order="C") for picture in batch]
