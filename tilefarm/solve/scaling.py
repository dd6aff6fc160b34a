"""Powers of two that keep gradients within float16's range, which is 6e-8 to 65504.

The derivative that enters a network at its outputs shrinks with the number of positions, to 1e-8 and less at
print scale, where float16 knows only 0. So it is multiplied by a power of two before it is rounded to
float16, and the pixels' gradient is divided by the same one in float32 (Micikevicius et al. 2018, "Mixed
precision training", section 3.2). Unlike there the power is not adapted over many steps: it follows from the
derivatives themselves, so that an evaluation does not depend on those before it. Multiplying by a power of
two rounds nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

_HEIGHT = 8
"""The largest derivative comes to lie at 2^7 to 2^8. Both ends were looked for, at the start and near the end
of a solve: from 2^12 on gradients left the range, and below 2^3 they began to lose small derivatives."""
_LOWERED_BY = 6
"""Powers of two less for each attempt after one that left the range."""
MOST_LOWERED = 3
"""Attempts after the first."""
_LARGEST_EXPONENT = 120
"""Float32 ends at 2^127."""


def seed_scale(largest: Tensor, lowered: Tensor) -> Tensor:
    """The powers of two by which the tiles' derivatives are multiplied, (B,), float32.

    `largest` (B,) holds their largest absolute values, and `lowered` (B,), integers, how often each tile's
    gradient has left the range. 1 where there is nothing to scale: `largest` is 0, or not finite.
    """
    exponent = torch.frexp(largest.float()).exponent
    wanted = (_HEIGHT - exponent - _LOWERED_BY * lowered).clamp(-_LARGEST_EXPONENT, _LARGEST_EXPONENT)
    scale = torch.ldexp(torch.ones_like(largest, dtype=torch.float32), wanted)
    return torch.where(_scalable(largest), scale, 1.0)


def left_range(largest: Tensor, gradient: Tensor) -> Tensor:
    """Whose gradients (B, 3, H, W) are not finite although they come from scaled derivatives, (B,)."""
    return _scalable(largest) & ~torch.isfinite(gradient.flatten(1)).all(1)


def _scalable(largest: Tensor) -> Tensor:
    return torch.isfinite(largest) & (largest > 0)
