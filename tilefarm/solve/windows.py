"""Poolings over windows that may overlap, and the l2 pooling, with small and repeatable backward passes.

torch's own max pooling keeps its whole input and eight bytes per output, and on CUDA its gradients are
added in an order that changes from run to run where windows overlap. Here everything goes by the window's
places: all first places of all windows are one strided view of the input, all second places another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor

_STRIDE = 2


def max_windows(x: Tensor, kernel: int, ceil: bool) -> Tensor:
    """The largest of every kernel x kernel window of (B, C, H, W) at stride 2, like F.max_pool2d.

    `ceil` as torch's ceil_mode: an incomplete last window counts. Of equal values in a window the first one
    gets the gradient, row by row. Keeps one byte per output for the backward pass.
    """
    return cast(Tensor, _MaxWindows.apply(x, kernel, ceil))


def l2_windows(x: Tensor, kernel: int, ceil: bool, factor: float) -> Tensor:
    """factor * sqrt(sum of squares) of every window of (B, C, H, W) at stride 2, like F.lp_pool2d times it.

    Computed in float32 at least, since squares leave float16's range. Where a window holds only zeros its
    gradient, which has no limit there, is taken as 0. Positively homogeneous. Keeps input and output.
    """
    return cast(Tensor, _L2Windows.apply(x, kernel, ceil, factor))


class _MaxWindows(torch.autograd.Function):
    """Remembers of every window at which of its places the largest value is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, ceil: bool) -> Tensor:
        views = _places(x, kernel, ceil)
        _, first = next(views)
        best = first.clone(memory_format=torch.channels_last)
        place = torch.zeros_like(best, dtype=torch.uint8)
        for number, view in views:
            known, there = _covered(best, view), _covered(place, view)
            there.masked_fill_(view > known, number)
            torch.maximum(known, view, out=known)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(place)
            ctx.window, ctx.shape = (kernel, ceil), x.shape
        return best

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,), (place,) = grads, ctx.saved_tensors
        result = _nothing(ctx.shape, grad)
        for number, view in _places(result, *ctx.window):
            view += _covered(grad, view) * (_covered(place, view) == number)
        return result, None, None


class _L2Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, ceil: bool, factor: float) -> Tensor:
        views = _places(x, kernel, ceil)
        _, first = next(views)
        total = _wide(first).square()
        for _, view in views:
            wide = _wide(view)
            _covered(total, view).addcmul_(wide, wide)
        result = total.sqrt_().mul_(factor).to(x.dtype)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(x, result)
            ctx.window, ctx.factor = (kernel, ceil), factor
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """With y = c sqrt(sum x^2): dy / dx = c^2 x / y."""
        (grad,), (x, output) = grads, ctx.saved_tensors
        share = _wide(grad) * ctx.factor**2 / _wide(output)
        share.masked_fill_(output == 0, 0.0)
        result = _nothing(x.shape, grad)
        sources = _places(x, *ctx.window)
        for (_, view), (_, source) in zip(_places(result, *ctx.window), sources, strict=True):
            view += (_covered(share, view) * source).to(view.dtype)
        return result, None, None, None


def _places(x: Tensor, kernel: int, ceil: bool) -> Iterator[tuple[int, Tensor]]:
    """Views of (B, C, H, W): what all windows have at their first place, at their second ...

    Windows are counted as torch does. What incomplete windows lack is missing at the end of some views.
    """
    height, width = (_count(side, kernel, ceil) for side in x.shape[2:])
    for number in range(kernel * kernel):
        row, column = divmod(number, kernel)
        yield (
            number,
            x[:, :, row : row + _STRIDE * height : _STRIDE, column : column + _STRIDE * width : _STRIDE],
        )


def _count(side: int, kernel: int, ceil: bool) -> int:
    return (side - kernel + (_STRIDE - 1 if ceil else 0)) // _STRIDE + 1


def _covered(outputs: Tensor, view: Tensor) -> Tensor:
    """The part of what belongs to windows (B, C, h, w) whose windows have the place of `view`."""
    return outputs[:, :, : view.shape[2], : view.shape[3]]


def _wide(x: Tensor) -> Tensor:
    """In float32, or float64 if it is."""
    return x if x.dtype == torch.float64 else x.float()


def _nothing(shape: torch.Size, like: Tensor) -> Tensor:
    empty = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
    return empty.zero_()
