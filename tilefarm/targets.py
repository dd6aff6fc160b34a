"""What the tiles of a level are compared with: statistics of the whole styles and of the whole content.

They are measured in pieces with halo on the workers, and sums are added in a fixed order, so that the
result does not depend on how many workers there were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tilefarm.errors import JobError
from tilefarm.execute.order import in_order
from tilefarm.execute.protocol import Executor
from tilefarm.files import checksum, replacing, telling_when_full
from tilefarm.geometry import Box, Size, View
from tilefarm.image.regions import RawRegions, write_regions
from tilefarm.image.window import open_raw, read_window
from tilefarm.masks import style_crop
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.halo import ReceptiveField, partition, receptive_field
from tilefarm.plan.layers import deepest_of
from tilefarm.plan.pyramid import MINIMUM_SIDE
from tilefarm.prepare import Prepared
from tilefarm.solve.contract import LevelTargets, RegionMoments, SolverSettings
from tilefarm.solve.tasks import LayerSums, MeasureTask
from tilefarm.spec.model import Job
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
    regions: RawRegions | None = None
    """The regions whose statistics are measured, each on its own; None: the whole picture is one."""

    @classmethod
    def of(
        cls, path: Path, size: Size, core: int, field: ReceptiveField, regions: RawRegions | None = None
    ) -> Pieces:
        """All of a picture; one too thin for the network is widened by reflection, in one piece."""
        if size.short_side >= MINIMUM_SIDE:
            return cls(path, size, core, field, None, regions)
        wide = Size(max(size.width, MINIMUM_SIDE), max(size.height, MINIMUM_SIDE))
        return cls.centred(path, size, wide, regions)

    @classmethod
    def centred(cls, path: Path, size: Size, window: Size, regions: RawRegions | None = None) -> Pieces:
        """One window in the middle of the picture."""
        left, top = (size.width - window.width) // 2, (size.height - window.height) // 2
        box = Box(left, top, left + window.width, top + window.height)
        return cls(path, size, 1, ReceptiveField(1, 0, 0), box, regions)

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return 1 if self.window else sum(1 for _ in partition(self.size, self.core, self.field))

    def tasks(self, kind: Literal["style", "content"]) -> Iterator[MeasureTask]:
        """The pieces, read one by one."""
        if self.window is not None:
            yield self._task(0, self.window, Box.of(self.window.size), kind)
            return
        for index, piece in enumerate(partition(self.size, self.core, self.field)):
            yield self._task(index, piece.crop, piece.core_in_crop, kind)

    def _task(self, index: int, box: Box, core: Box, kind: Literal["style", "content"]) -> MeasureTask:
        return MeasureTask(
            index=index,
            crop=read_window(open_raw(self.path, self.size), box),
            core=core,
            kind=kind,
            regions=None if self.regions is None else self.regions.window(self.size, box),
        )


def style_pieces(prepared: Prepared, level: LevelPlan, number: int, path: Path, mask_path: Path) -> Pieces:
    """The raw style picture of a job at `path`, of the level's size, cut for measuring.

    A mask on it is written to `mask_path`.
    """
    return cut_style(prepared.job, level, number, path, write_style_mask(prepared, level, number, mask_path))


def write_style_mask(prepared: Prepared, level: LevelPlan, number: int, path: Path) -> RawRegions | None:
    """Write how much each pixel of a style counts at the level's size; None: all alike, no file."""
    size, mask = level.styles[number], prepared.masks.of_style(number)
    if mask is None:
        return None
    return write_regions([mask], [View.filling(Box.of(mask.size), size)], size, path)


def cut_style(job: Job, level: LevelPlan, number: int, path: Path, mask: RawRegions | None) -> Pieces:
    """The raw style picture at `path`, of the level's size, cut as `objective.style_target` says."""
    size, crop = level.styles[number], style_crop(job, level)
    if crop is not None:
        return Pieces.centred(path, size, crop, mask)
    field = receptive_field(job.network.name, deepest_of(job))
    return Pieces.of(path, size, job.tiles.side, field, mask)


def measure_sums(
    executor: Executor,
    settings: SolverSettings,
    pieces: Pieces,
    on_piece: Callable[[], None],
) -> dict[str, LayerSums]:
    """Per style layer the sums over all of the picture, region by region."""
    sums: dict[str, LayerSums] = {}
    for part in in_order(executor.measure(settings, pieces.tasks("style"))):
        for layer, found in part.styles.items():
            sums[layer] = sums[layer] + found if layer in sums else found
        on_piece()
    return sums


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


def picture_moments(sums: dict[str, LayerSums]) -> dict[str, RegionMoments]:
    """A picture's own moments; those of an empty region are 0."""
    return {layer: _region_moments(found) for layer, found in sums.items()}


def style_moments(
    styles: Sequence[dict[str, LayerSums]], weights: Sequence[float], regions: Sequence[Sequence[int]]
) -> dict[str, RegionMoments]:
    """The targets of each region, which names its styles: the weighted mean of their moments.

    So the target is the distribution of features that are drawn from the styles in these shares. A style
    whose mask leaves nothing of it at a layer has no distribution there, and no part in the mean. Raises
    JobError where a region has no other style.
    """
    found = {}
    for layer in styles[0]:
        moments = [_region_moments(sums[layer]) for sums in styles]
        means, products = [], []
        for named in regions:
            members = [number for number in named if styles[number][layer].weights[0] > 0]
            if not members:
                raise JobError(_nothing_white(named, layer))
            shares = np.array([weights[number] for number in members])
            shares /= shares.sum()
            pairs = list(zip(shares, (moments[number] for number in members), strict=True))
            means.append(sum(share * each.means[0].astype(np.float64) for share, each in pairs))
            products.append(sum(share * each.products[0].astype(np.float64) for share, each in pairs))
        found[layer] = RegionMoments(
            np.stack(means).astype(np.float32), np.stack(products).astype(np.float32)
        )
    return found


def _nothing_white(styles: Sequence[int], layer: str) -> str:
    names = ", ".join(str(number + 1) for number in styles)
    return (
        f"style_mask of style {names} must be white where {layer} looks at the style picture, got black at "
        "each of its positions; paint more of it white, away from the edges, or set "
        "objective.style_target: whole"
    )


def region_weights(weights: Sequence[float], areas: Sequence[float]) -> tuple[float, ...]:
    """What each region's error is multiplied with, beside its share of the picture.

    Proportional to the weights of the regions' styles, and such that the style has on average the same weight
    in every pixel that belongs to a region as in a picture without regions.
    """
    weighted = sum(weight * area for weight, area in zip(weights, areas, strict=True))
    factor = sum(areas) / weighted if weighted else 1.0
    return tuple(factor * weight for weight in weights)


def _region_moments(sums: LayerSums) -> RegionMoments:
    divisor = np.maximum(sums.weights, np.finfo(np.float64).tiny)
    return RegionMoments(
        (sums.sums / divisor[:, None]).astype(np.float32),
        (sums.products / divisor[:, None, None]).astype(np.float32),
    )


def save_targets(path: Path, targets: LevelTargets) -> int:
    """Write the targets durably and return the file's CRC-32."""
    arrays = {f"mean {layer}": style.means for layer, style in targets.styles.items()}
    arrays |= {f"product {layer}": style.products for layer, style in targets.styles.items()}
    arrays |= {
        f"content {layer}": np.array(value, dtype=np.float64)
        for layer, value in targets.content_mean_squares.items()
    }
    arrays["regions"] = np.array(targets.region_weights)
    with telling_when_full(path), replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes **kwds for allow_pickle
    return checksum(path)


def load_targets(path: Path, key: str) -> LevelTargets:
    """Read what `save_targets` wrote."""
    with np.load(path, allow_pickle=False) as file:
        named: dict[str, dict[str, NDArray[Any]]] = {"mean": {}, "product": {}, "content": {}}
        for name in file.files:
            kind, _, layer = name.partition(" ")
            if layer:
                named[kind][layer] = file[name]
        weights = tuple(float(value) for value in file["regions"])
    return LevelTargets(
        key,
        {layer: RegionMoments(mean, named["product"][layer]) for layer, mean in named["mean"].items()},
        {layer: float(value) for layer, value in named["content"].items()},
        weights,
    )
