"""The terms of the objective as functions of a batch, one value per tile.

Notation of Gatys, Ecker and Bethge 2016, "Image style transfer using convolutional neural
networks": at one layer, F holds the features of the picture and P those of the content (N
channels, M positions). All sums are accumulated in float32 whatever the network's precision (float64 for
float64), and their bits do not depend on the number of threads. Style and content errors have backward
passes of their own: autograd's would keep float32 copies of the features.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from tilefarm.solve.contract import NEAR_CONTENT
from tilefarm.solve.distances import Compare
from tilefarm.solve.moments import Moments, squared_length
from tilefarm.solve.sums import accumulation_dtype, sum_per_tile

_SMALLEST_MEAN_SQUARE = 1e-8
"""Below this the content activates nothing at a layer. VGG's mean squares are about 0.1 and more."""


def moments(features: Tensor, shares: Tensor | None = None) -> tuple[Moments, Tensor]:
    """Mean and mean product of features (B, N, H, W) in each region: (B, R, N) and (B, R, N, N), float32.

    `shares` (B, R, H, W), 0..1, says how much each position belongs to each region; None is one region with
    all positions. The second result, (B, R), is the regions' share of all positions. The moments of an empty
    region are 0. Means over positions make statistics independent of the resolution, so that one target
    serves pictures of any size.
    """
    rows = _rows(features)
    if shares is None:
        product = torch.bmm(rows.transpose(1, 2), rows) / rows.shape[1]
        areas = torch.ones(len(rows), 1, dtype=rows.dtype, device=rows.device)
        return Moments(rows.mean(1).unsqueeze(1), product.unsqueeze(1)), areas
    weights = _rows(shares).to(rows.dtype)
    sizes = weights.sum(1)
    divisor = sizes.clamp_min(torch.finfo(rows.dtype).tiny).unsqueeze(2)
    products = [
        torch.bmm((rows * weights[:, :, region : region + 1]).transpose(1, 2), rows)
        for region in range(weights.shape[2])
    ]
    found = Moments(
        torch.bmm(weights.transpose(1, 2), rows) / divisor,
        torch.stack(products, dim=1) / divisor.unsqueeze(3),
    )
    return found, sizes / rows.shape[1]


def style_error(
    features: Tensor,
    compare: Compare,
    shares: Tensor | None = None,
    region_weights: tuple[float, ...] = (1.0,),
    normalize: bool = False,
) -> Tensor:
    """The sum over regions of weight times share of positions times error, shape (B,).

    `features` are (B, N, H, W), `shares` (B, R, H, W) or None; `compare` gets the moments (B, R, ...). With
    `normalize` the gradient by the features of each tile has length 1.
    """
    return cast(Tensor, _StyleError.apply(features, shares, compare, region_weights, normalize))


class _StyleError(torch.autograd.Function):
    """Carries the slopes by the moments back to the features: a product with one small matrix per region."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        shares: Tensor | None,
        compare: Compare,
        region_weights: tuple[float, ...],
        normalize: bool,
    ) -> Tensor:
        found, areas = moments(features, shares)
        errors, slopes = compare(found)
        weights = torch.tensor(region_weights, dtype=areas.dtype, device=areas.device)
        positions = features.shape[2] * features.shape[3]
        # By the sums over a region: the mean's divisor cancels against the region's share.
        by_sums = Moments(
            slopes.mean * (weights / positions)[:, None],
            slopes.product * (weights / positions)[:, None, None],
        )
        if normalize:
            sizes = areas * positions
            sums = Moments(found.mean * sizes[..., None], found.product * sizes[..., None, None])
            lengths = squared_length(by_sums, sums, sizes).sum(-1).clamp_min(0).sqrt()
            factor = 1 / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)
            by_sums = Moments(
                by_sums.mean * factor[:, None, None], by_sums.product * factor[:, None, None, None]
            )
        ctx.save_for_backward(features, shares, *by_sums)
        error: Tensor = (weights * areas * errors).sum(-1)
        return error

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        features, shares, mean, product = ctx.saved_tensors
        grad = grads[0].to(mean.dtype)[:, None, None]
        batch, channels, height, width = features.shape
        rows, back = _rows(features), None
        for region in range(mean.shape[1]):
            part = torch.baddbmm(
                mean[:, region : region + 1] * grad, rows, product[:, region] * (2 * grad)
            )  # the slopes by products are symmetric
            if shares is not None:
                part *= _rows(shares[:, region : region + 1]).to(part.dtype)
            back = part if back is None else back.add_(part)
        assert back is not None
        result = back.view(batch, height, width, channels).permute(0, 3, 1, 2).to(features.dtype)
        return result, None, None, None, None


def _rows(features: Tensor) -> Tensor:
    """(B, N, H, W) as (B, M, N): channels-last as they are, this is their order in memory."""
    rows = features.permute(0, 2, 3, 1).flatten(1, 2)
    return rows.to(accumulation_dtype(features.dtype))


def content_error(features: Tensor, target: Tensor, mean_square: float, normalize: bool = False) -> Tensor:
    """C_l = mean((F - P)^2) / mean_square of one layer, shape (B,), of features (B, N, H, W).

    Equation 1, which has half the sum in place of the mean. `mean_square` is mean(P^2) over the whole
    picture's content (not this tile's alone, so that every tile's pixels count the same): 1.0 then
    means "as far from the content as features that are all zero", at every layer. Where the content activates
    nothing (mean_square is 0), there is nothing to be relative to and the plain mean is returned. With
    `normalize` the gradient by the features of each tile has length 1, and less near the content, where it
    would have no direction.
    """
    scale = mean_square if mean_square > _SMALLEST_MEAN_SQUARE else 1.0
    return cast(Tensor, _ContentError.apply(features, target, features[0].numel() * scale, normalize))


class _ContentError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, target: Tensor, divisor: float, normalize: bool) -> Tensor:
        squares = sum_per_tile(_difference(features, target).square())
        factor = torch.full_like(squares, 2 / divisor)
        if normalize:
            factor = 1 / squares.sqrt().clamp_min(NEAR_CONTENT * divisor**0.5)
        ctx.save_for_backward(features, target, factor)
        return squares / divisor

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        features, target, factor = ctx.saved_tensors
        scale = (grads[0] * factor).view(-1, 1, 1, 1)
        return (_difference(features, target) * scale).to(features.dtype), None, None, None


def _difference(features: Tensor, target: Tensor) -> Tensor:
    dtype = accumulation_dtype(features.dtype)
    return features.to(dtype) - target.to(dtype)


def total_variation(picture: Tensor, exponent: float = 2.0) -> Tensor:
    """The mean of |difference|^exponent of horizontal neighbours plus that of vertical ones, shape (B,).

    `picture` is (B, 3, H, W), 0..1, `exponent` 1 to 3. Means, not sums, so that the weight does not depend on
    the size (Mahendran and Vedaldi 2015, "Understanding deep image representations by inverting them",
    equation for R_V with beta = 2, divided by the number of pairs; with other exponents each direction stands
    alone, as in neural-style). The slope of |d| at 0 is taken as 0. A picture that is one pixel wide
    or high has no neighbours in that direction, which then counts 0.
    """
    horizontal = picture[:, :, :, 1:] - picture[:, :, :, :-1]
    vertical = picture[:, :, 1:, :] - picture[:, :, :-1, :]
    return _mean_power(horizontal, exponent) + _mean_power(vertical, exponent)


def _mean_power(difference: Tensor, exponent: float) -> Tensor:
    powers = difference.square() if exponent == 2 else difference.abs().pow(exponent)
    return sum_per_tile(powers) / max(difference[0].numel(), 1)
