"""Max pooling that keeps little for its backward pass.

torch's own keeps the pooling's whole input and eight bytes per output: at the first pooling of a VGG this is
more than all that the deeper layers keep together. One byte per output is enough.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def max_pool(x: Tensor) -> Tensor:
    """The largest of every 2x2 cell of (B, C, H, W), as (B, C, H // 2, W // 2), like F.max_pool2d(x, 2).

    Values and gradients are the same bits as torch's: of equal values in a cell the first one counts, row by
    row, and an odd last row or column is dropped.
    """
    return cast(Tensor, _MaxPool.apply(x))


class _MaxPool(torch.autograd.Function):
    """Remembers of every cell in which row and column its largest value is.

    Written with operations that torch runs vectorised on CPUs, in bfloat16 too; `where` is not among them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        first, second, third, fourth = (_corner(x, corner) for corner in _CORNERS)
        upper, lower = torch.maximum(first, second), torch.maximum(third, fourth)
        if ctx.needs_input_grad[0]:
            below = lower > upper
            right = (below & (fourth > third)) | (~below & (second > first))
            ctx.save_for_backward(below.view(torch.uint8).add_(right, alpha=2))
            ctx.shape = x.shape
        return torch.maximum(upper, lower)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,), (place,) = grads, ctx.saved_tensors
        result = torch.empty(
            ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last
        )
        height, width = 2 * grad.shape[2], 2 * grad.shape[3]
        result[:, :, height:].zero_()
        result[:, :, :, width:].zero_()
        below, right = (place & 1).to(grad.dtype), (place >> 1).to(grad.dtype)
        lower = grad * below
        upper = grad - lower  # exactly grad or 0
        for row, part in enumerate((upper, lower)):
            torch.mul(part, right, out=_corner(result, (row, 1)))
            torch.sub(part, _corner(result, (row, 1)), out=_corner(result, (row, 0)))
        return result


def _corner(x: Tensor, corner: tuple[int, int]) -> Tensor:
    """A view of one corner of every whole cell."""
    row, column = corner
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    return x[:, :, row:height:2, column:width:2]
