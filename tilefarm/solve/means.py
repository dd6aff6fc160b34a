"""Running means without bias: what Adam and the averaging of its iterates are made of.

Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 1, start a mean at 0, keep
`decay` of it in every step, and divide by 1 - decay^t, which is the share of the start that is gone:

    m_t = decay m_(t-1) + (1 - decay) g_t,    mean_t = m_t / (1 - decay^t).

Put together, mean_t = mean_(t-1) + share (g_t - mean_(t-1)) with share = (1 - decay) / (1 - decay^t): the
same numbers, and at every moment a mean that can be blended, enlarged and handed on, while the count alone
says how much a new value weighs.
"""

from __future__ import annotations

EPSILON = 1e-8
"""Added to the root of the mean square (algorithm 1)."""


def share(decay: float, count: int) -> float:
    """What value number `count`, from 1, weighs in the mean: 1 for the first one, then down to 1 - decay.

    `decay` is in [0, 1).
    """
    return float((1 - decay) / (1 - decay**count))
