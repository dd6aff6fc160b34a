"""The terms of the objective as pure functions of a batch, one value per tile.

Notation of Gatys, Ecker and Bethge 2016, "Image style transfer using convolutional neural
networks": at one layer, F holds the features of the picture and P those of the content (N
channels, M positions), G is the picture's Gram matrix and A the style's. All sums are
accumulated in float32 whatever the network's precision (float64 for float64), and their bits do
not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from tilefarm.solve.sums import accumulation_dtype, sum_per_tile

_SMALLEST_MEAN_SQUARE = 1e-8
"""Below this the content activates nothing at a layer. VGG's mean squares are about 0.1 and more."""


def gram(features: Tensor) -> Tensor:
    """G = F F^T / M (equation 3), shape (B, N, N), float32, of features (B, N, H, W).

    The division by the number of positions M = H W is not in the paper. It makes G independent of
    the resolution, so that one target serves pictures of any size.
    """
    return cast(Tensor, _Gram.apply(features))


class _Gram(torch.autograd.Function):
    """Autograd's own would keep a float32 copy of the features, and multiply twice on its way back."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        rows = _rows(features)
        return torch.bmm(rows.transpose(1, 2), rows) / rows.shape[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,), (features,) = grads, ctx.saved_tensors
        batch, channels, height, width = features.shape
        rows = _rows(features)
        back = torch.bmm(rows, (grad + grad.transpose(1, 2)) / rows.shape[1])
        return back.view(batch, height, width, channels).permute(0, 3, 1, 2).to(features.dtype)


def _rows(features: Tensor) -> Tensor:
    """(B, N, H, W) as (B, M, N): channels-last as they are, this is their order in memory."""
    rows = features.permute(0, 2, 3, 1).flatten(1, 2)
    return rows.to(accumulation_dtype(features.dtype))


def style_loss(gram: Tensor, target: Tensor, reference: Tensor | None = None) -> Tensor:
    """E_l = sum((G - A)^2) / sum(A^2) of one layer, shape (B,).

    `gram` is (B, N, N), `target` (N, N) or (B, N, N). `reference` replaces A in the divisor where the
    target is not the style's own matrix. Equation 4 with another factor: the paper
    divides by 4 N^2 M^2, which leaves layers of very different size. Divided by the size of the
    target itself, 1.0 means "as far from the style as features that are all zero" at every layer, so
    that equal weights make the layers equally important.
    """
    target = target.expand_as(gram)
    reference = target if reference is None else reference.expand_as(gram)
    size = sum_per_tile(reference.square()).clamp_min(torch.finfo(gram.dtype).tiny)
    return sum_per_tile((gram - target).square()) / size


def content_loss(features: Tensor, target: Tensor, mean_square: float) -> Tensor:
    """C_l = mean((F - P)^2) / mean_square of one layer, shape (B,), of features (B, N, H, W).

    Equation 1, which has half the sum in place of the mean. `mean_square` is mean(P^2) over the whole
    picture's content (not this tile's alone, so that every tile's pixels count the same): 1.0 then
    means "as far from the content as features that are all zero", at every layer. Where the content activates
    nothing (mean_square is 0), there is nothing to be relative to and the plain mean is returned.
    """
    dtype = accumulation_dtype(features.dtype)
    scale = mean_square if mean_square > _SMALLEST_MEAN_SQUARE else 1.0
    difference = features.to(dtype) - target.to(dtype)
    return sum_per_tile(difference.square()) / (difference[0].numel() * scale)


def total_variation(picture: Tensor) -> Tensor:
    """The mean squared difference of horizontal neighbours plus that of vertical ones, shape (B,).

    `picture` is (B, 3, H, W), 0..1. Means, not sums, so that the weight does not depend on the size
    (Mahendran and Vedaldi 2015, "Understanding deep image representations by inverting them",
    equation for R_V with beta = 2, divided by the number of pairs). A picture that is one pixel wide
    or high has no neighbours in that direction, which then counts 0.
    """
    horizontal = picture[:, :, :, 1:] - picture[:, :, :, :-1]
    vertical = picture[:, :, 1:, :] - picture[:, :, :-1, :]
    return _mean_square(horizontal) + _mean_square(vertical)


def _mean_square(difference: Tensor) -> Tensor:
    return sum_per_tile(difference.square()) / max(difference[0].numel(), 1)
