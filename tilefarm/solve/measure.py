"""Statistics of one piece of a picture, as sums that add up to those of the whole picture."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilefarm.errors import TilefarmError
from tilefarm.geometry import Box
from tilefarm.plan.halo import receptive_field
from tilefarm.solve.contract import Regions, SolverSettings
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import active, shares_at
from tilefarm.solve.sums import sum_per_tile
from tilefarm.solve.tasks import LayerSums, Measurement, MeasureTask

_POSITIONS_PER_BLOCK = 16384
"""Products are summed over so many positions in float32, then added in float64."""


def measure(network: FeatureNetwork, settings: SolverSettings, task: MeasureTask) -> Measurement:
    """Sums over the positions of the core of `task`, for the layers with a weight other than 0.

    At a layer of stride s, the core from `top` to `bottom` owns the rows top // s up to bottom // s. Its
    edges are multiples of every stride, or end where the picture ends: there the pooling has dropped
    the odd rest exactly as in the whole picture. So the cores of a partition cover each position of
    each layer of the whole picture once. Raises ValueError for a core whose edges are neither, and
    TilefarmError where a sum is not a finite number.
    """
    begin = time.monotonic()
    layers = list(active(settings.style_layers if task.kind == "style" else settings.content_layers))
    strides = {layer: receptive_field(settings.network, layer).stride for layer in layers}
    check_core(task.crop.shape[:2], task.core, max(strides.values(), default=1))
    crop = np.ascontiguousarray(task.crop, dtype=np.float32)
    picture = torch.from_numpy(crop).to(network.device).permute(2, 0, 1).unsqueeze(0)
    with torch.no_grad():
        features = network.features(picture, layers)
    cores = {layer: by_position(core_slice(features[layer], task.core, strides[layer])) for layer in layers}
    styles, squares = {}, {}
    if task.kind == "style":
        shares = core_shares(task.regions, task.core, settings.network, layers, network.device)
        styles = {layer: layer_sums(rows, shares.get(layer), network.unit) for layer, rows in cores.items()}
    else:
        squares = {layer: network.unit**2 * square_sum(rows) for layer, rows in cores.items()}
    _check_finite(task, styles, squares, settings)
    return Measurement(
        index=task.index,
        positions={layer: len(rows) for layer, rows in cores.items()},
        styles=styles,
        squares=squares,
        seconds=time.monotonic() - begin,
    )


def _check_finite(
    task: MeasureTask,
    styles: dict[str, LayerSums],
    squares: dict[str, float],
    settings: SolverSettings,
) -> None:
    """Of a picture whose statistics are not finite nothing can be made, so this is the place to say so."""
    finite = all(math.isfinite(value) for value in squares.values())
    if not (finite and all(np.isfinite(sums.products).all() for sums in styles.values())):
        raise TilefarmError(
            f"the {task.kind}'s features in piece {task.index} are not finite numbers "
            f"(precision {settings.precision}): look for non-finite pixels in the pictures, or set "
            "compute.precision to float32"
        )


def check_core(crop: tuple[int, ...], core: Box, stride: int) -> None:
    """Raises ValueError unless the core's edges in a crop (height, width) are multiples of the stride.

    Right and bottom may also be where the crop ends.
    """
    height, width = crop
    inside = min(core.left, core.top) >= 0 and core.right <= width and core.bottom <= height
    starts = core.left % stride == 0 and core.top % stride == 0
    ends = (core.right % stride == 0 or core.right == width) and (
        core.bottom % stride == 0 or core.bottom == height
    )
    if not (inside and starts and ends):
        raise ValueError(f"the edges of {core} in a crop of {width}x{height} must be multiples of {stride}")


def core_slice(features: Tensor, core: Box, stride: int) -> Tensor:
    """A view of the features (1, N, H, W) at the core's positions."""
    top, bottom = core.top // stride, core.bottom // stride
    left, right = core.left // stride, core.right // stride
    return features[:, :, top:bottom, left:right]


def by_position(core: Tensor) -> Tensor:
    """Features (1, N, H, W) as (H W, N): channels-last as they are, this is their order in memory."""
    return core.permute(0, 2, 3, 1).reshape(-1, core.shape[1])


def core_shares(
    regions: Regions | None, core: Box, network: str, layers: Iterable[str], device: torch.device
) -> dict[str, Tensor]:
    """Per layer the shares of regions (M, R) at a core's positions; empty where there are no regions.

    `regions` is (height, width, R) and belongs to the crop that the core is part of.
    """
    if regions is None:
        return {}
    pixels = torch.from_numpy(np.ascontiguousarray(regions, dtype=np.float32)).to(device)
    crop = pixels.permute(2, 0, 1).unsqueeze(0)
    found = {}
    for layer in layers:
        stride = receptive_field(network, layer).stride
        found[layer] = by_position(core_slice(shares_at(crop, network, layer), core, stride))
    return found


def layer_sums(rows: Tensor, shares: Tensor | None, unit: float) -> LayerSums:
    """Sums over the positions of features (M, N) in units of `unit`, per region with shares (M, R)."""
    regions = [None] if shares is None else list(shares.unbind(1))
    found = [_region_sums(rows, weights) for weights in regions]
    sizes, sums, products = zip(*found, strict=True)
    return LayerSums(np.array(sizes), unit * np.stack(sums), unit**2 * np.stack(products))


def _region_sums(
    rows: Tensor, weights: Tensor | None
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """sum(w), sum(w f) and sum(w f f^T) of one region, by blocks; `weights` (M,), None: 1 everywhere.

    The products with weights are symmetric but for their rounding. What is made of them must be symmetric to
    the bit (`folding.unfolded`): the slopes of the Wasserstein distance, which have roots of eigenvalues in
    their divisors, were off by 7e-4 otherwise where a region has fewer positions than channels.
    """
    channels = rows.shape[1]
    size = float(len(rows)) if weights is None else float(sum_per_tile(weights.double().unsqueeze(0)))
    total = torch.zeros(channels, dtype=torch.float64, device=rows.device)
    product = torch.zeros(1, channels, channels, dtype=torch.float64, device=rows.device)
    ones = torch.ones(1, 1, _POSITIONS_PER_BLOCK, device=rows.device)
    for start in range(0, len(rows), _POSITIONS_PER_BLOCK):
        block = rows[start : start + _POSITIONS_PER_BLOCK]
        values = (block if block.dtype == torch.float64 else block.float()).unsqueeze(0)
        weighted = values
        if weights is not None:
            weighted = values * weights[start : start + _POSITIONS_PER_BLOCK].to(values.dtype)[None, :, None]
        # A product with ones is several times faster than torch's sum over rows.
        total += torch.bmm(ones[:, :, : len(block)].to(values.dtype), weighted)[0, 0]
        product += torch.bmm(weighted.transpose(1, 2), values)
    return size, total.cpu().numpy(), product[0].cpu().numpy()


def square_sum(rows: Tensor) -> float:
    """sum(f^2) over positions and channels of (M, N)."""
    return sum((_squares(block.double()) for block in torch.split(rows, _POSITIONS_PER_BLOCK)), start=0.0)


def difference_sum(rows: Tensor, others: Tensor) -> float:
    """sum((f - p)^2) over positions and channels of two (M, N)."""
    pairs = zip(*(torch.split(each, _POSITIONS_PER_BLOCK) for each in (rows, others)), strict=True)
    return sum((_squares((mine.float() - theirs.float()).double()) for mine, theirs in pairs), start=0.0)


def _squares(block: Tensor) -> float:
    return float(sum_per_tile(block.square().unsqueeze(0)))
