"""Sums whose bits do not depend on the number of threads.

Torch adds up a whole tensor by giving each thread a share, so that the last bits of the result
change with the thread count, and with them, after some L-BFGS steps, the picture. Torch never
divides one output among threads where there are many outputs, nor does it use threads at all for
a small input. So a long vector is first summed in fixed blocks, which gives many outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 4096


def sum_per_tile(values: Tensor) -> Tensor:
    """The sum over all dimensions but the first, shape (B,), in the dtype of `values` (B, ...)."""
    rows = values.flatten(1)
    whole = rows.shape[1] // _BLOCK * _BLOCK
    sums = rows[:, :whole].reshape(len(rows), whole // _BLOCK, _BLOCK).sum(-1)
    if sums.shape[1] > _BLOCK:
        sums = sum_per_tile(sums).unsqueeze(1)
    return sums.sum(-1) + rows[:, whole:].sum(-1)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which statistics of features are added up: float32, or float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32
