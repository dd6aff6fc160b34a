"""Statistics of pieces added up in a tree whose form depends on the number of pieces alone.

Sums of floating-point numbers depend on their order. Here the pieces are the leaves of a binary tree in their
order; whoever has the two halves of a branch may add them, on any machine and at any time, and the bits are
the same (pairwise summation: Higham, Accuracy and Stability of Numerical Algorithms, section 4.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Any

from tilefarm.solve.tasks import FoldedSums

Styles = Mapping[str, FoldedSums]
"""Per style layer."""


@dataclass(frozen=True)
class Branch:
    """The sums of the pieces `first` to `first + count - 1`; count is a power of two that divides first."""

    first: int
    count: int
    styles: Any
    """`Styles`, or what an executor puts in their place to fetch them with."""


def leaf(index: int, styles: Styles) -> Branch:
    """A piece."""
    return Branch(index, 1, styles)


def joined(branches: Iterable[Branch]) -> tuple[Branch, ...]:
    """The same pieces in as few branches as there can be, in order. No piece may be in two of them."""
    found: list[Branch] = []
    for branch in sorted(branches, key=lambda each: each.first):
        found.append(branch)
        while len(found) > 1 and _are_halves(*found[-2:]):
            right, left = found.pop(), found.pop()
            found.append(Branch(left.first, 2 * left.count, _added(left.styles, right.styles)))
    return tuple(found)


def total(branches: Iterable[Branch], pieces: int) -> dict[str, FoldedSums]:
    """The sums of all `pieces`; the number of pieces need not be a power of two.

    Raises ValueError where the branches are not those that `joined` makes of all pieces.
    """
    found = joined(branches)
    sizes = [1 << bit for bit in reversed(range(pieces.bit_length())) if pieces >> bit & 1]
    firsts = [*accumulate(sizes, initial=0)][:-1]
    if [(branch.first, branch.count) for branch in found] != [*zip(firsts, sizes, strict=True)]:
        raise ValueError(f"branches {[(each.first, each.count) for each in found]} of {pieces} pieces")
    styles = [dict(branch.styles) for branch in reversed(found)]
    return reduce(lambda right, left: _added(left, right), styles) if styles else {}


def _are_halves(left: Branch, right: Branch) -> bool:
    return (
        left.count == right.count
        and left.first + left.count == right.first
        and left.first % (2 * left.count) == 0
    )


def _added(left: Styles, right: Styles) -> dict[str, FoldedSums]:
    return {layer: sums + right[layer] for layer, sums in left.items()}
