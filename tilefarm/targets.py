"""What the tiles of a level are compared with: statistics of the whole styles and of the whole content.

They are measured in pieces with halo on the workers, and sums are added in a fixed order, so that the
result does not depend on how many workers there were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tilefarm.execute.order import in_order
from tilefarm.execute.protocol import Executor
from tilefarm.files import checksum, replacing, telling_when_full
from tilefarm.geometry import Box, Size
from tilefarm.image.window import open_raw, read_window
from tilefarm.plan.halo import ReceptiveField, partition
from tilefarm.plan.pyramid import MINIMUM_SIDE
from tilefarm.solve.contract import LevelTargets, MeasureTask, SolverSettings
from tilefarm.spec.networks import channels_of


@dataclass(frozen=True)
class Pieces:
    """How a picture at a level's size is cut for measuring."""

    path: Path
    """The raw picture."""
    size: Size
    core: int
    """Pixels of a core, a multiple of the field's stride."""
    field: ReceptiveField
    window: Box | None = None
    """Measure this window alone, filled up by reflection where it leaves the picture."""

    @classmethod
    def of(cls, path: Path, size: Size, core: int, field: ReceptiveField) -> Pieces:
        """All of a picture; one too thin for the network is widened by reflection, in one piece."""
        if size.short_side >= MINIMUM_SIDE:
            return cls(path, size, core, field)
        return cls.centred(path, size, Size(max(size.width, MINIMUM_SIDE), max(size.height, MINIMUM_SIDE)))

    @classmethod
    def centred(cls, path: Path, size: Size, window: Size) -> Pieces:
        """One window in the middle of the picture."""
        left, top = (size.width - window.width) // 2, (size.height - window.height) // 2
        box = Box(left, top, left + window.width, top + window.height)
        return cls(path, size, 1, ReceptiveField(1, 0), box)

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return 1 if self.window else sum(1 for _ in partition(self.size, self.core, self.field))

    def tasks(self, kind: Literal["style", "content"]) -> Iterator[MeasureTask]:
        """The pieces, read one by one."""
        if self.window is not None:
            crop = read_window(open_raw(self.path, self.size), self.window)
            yield MeasureTask(0, crop, Box.of(self.window.size), kind)
            return
        for index, piece in enumerate(partition(self.size, self.core, self.field)):
            crop = read_window(open_raw(self.path, self.size), piece.crop)
            yield MeasureTask(index, crop, piece.core_in_crop, kind)


def measure_grams(
    executor: Executor,
    settings: SolverSettings,
    pieces: Pieces,
    on_piece: Callable[[], None],
) -> dict[str, NDArray[np.float64]]:
    """Per style layer the Gram matrix sum(f f^T) / positions of the whole picture, float64."""
    products: dict[str, NDArray[np.float64]] = {}
    positions: dict[str, int] = {}
    for part in in_order(executor.measure(settings, pieces.tasks("style"))):
        for layer, product in part.products.items():
            products[layer] = products[layer] + product if layer in products else product
            positions[layer] = positions.get(layer, 0) + part.positions[layer]
        on_piece()
    return {layer: product / positions[layer] for layer, product in products.items()}


def measure_mean_squares(
    executor: Executor,
    settings: SolverSettings,
    pieces: Pieces,
    on_piece: Callable[[], None],
) -> dict[str, float]:
    """Per content layer mean(P^2) over positions and channels of the whole content."""
    squares: dict[str, float] = {}
    positions: dict[str, int] = {}
    for part in in_order(executor.measure(settings, pieces.tasks("content"))):
        for layer, square in part.squares.items():
            squares[layer] = squares.get(layer, 0.0) + square
            positions[layer] = positions.get(layer, 0) + part.positions[layer]
        on_piece()
    channels = channels_of(settings.network)
    return {layer: square / (positions[layer] * channels[layer]) for layer, square in squares.items()}


def mix_grams(
    grams: list[dict[str, NDArray[np.float64]]], weights: list[float]
) -> dict[str, NDArray[np.float32]]:
    """The weighted mean of several styles' Gram matrices."""
    total = sum(weights)
    return {
        layer: sum(
            (gram[layer] * (weight / total) for gram, weight in zip(grams, weights, strict=True)),
            np.zeros_like(grams[0][layer]),
        ).astype(np.float32)
        for layer in grams[0]
    }


def save_targets(path: Path, targets: LevelTargets) -> int:
    """Write the targets durably and return the file's CRC-32."""
    arrays = {f"gram {layer}": gram for layer, gram in targets.grams.items()}
    arrays |= {
        f"content {layer}": np.array(value, dtype=np.float64)
        for layer, value in targets.content_mean_squares.items()
    }
    with telling_when_full(path), replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes **kwds for allow_pickle
    return checksum(path)


def load_targets(path: Path, key: str) -> LevelTargets:
    """Read what `save_targets` wrote."""
    grams, squares = {}, {}
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            kind, layer = name.split(" ")
            if kind == "gram":
                grams[layer] = file[name]
            else:
                squares[layer] = float(file[name])
    return LevelTargets(key, grams, squares)
