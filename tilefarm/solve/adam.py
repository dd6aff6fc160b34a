"""Adam for a batch of independent problems (Kingma and Ba 2015, algorithm 1), with averaged iterates.

A step goes against the mean gradient, every value in proportion to the root of its own mean square:
x - step_size * mean / (sqrt(square) + epsilon). What is returned is the running mean of the iterates
(section 7.2 there). Both kinds of means are those of `solve.means`.

A step to a loss or gradient that is not finite is taken back: point and means are as before, and it is tried
at a tenth. A loss that rises is no such reason, since this is no descent method; what guards it is that no
value moves further than step_size * max(1, (1 - beta1) / sqrt(1 - beta2)) in a step (section 2.1).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tilefarm.solve.contract import AdamSettings
from tilefarm.solve.means import EPSILON, share
from tilefarm.solve.search import Numbers, Point, Search, Tiles, per_tile, shortening


class Adam:
    """The means of a batch, `search.Method`."""

    def __init__(
        self, search: Search, settings: AdamSettings, memory: tuple[Tensor, Tensor, Numbers] | None = None
    ) -> None:
        """`memory`: means of gradients and of their squares, (B, D) each, and of how many gradients, (B,)."""
        self._settings = settings
        zeros = torch.zeros_like(search.x)
        self.mean, self.square, self.count = memory or (zeros, zeros, np.zeros(len(search.x)))
        self._average = zeros
        self._averaged = np.zeros(len(search.x))
        self._remember(search, search.running)

    def propose(self, search: Search) -> Tensor:
        """The step from every tile's point, (B, D)."""
        size = per_tile(-self._settings.step_size * shortening(search), search.x)
        return self.mean / (self.square.sqrt() + EPSILON) * size

    def acceptable(self, search: Search, losses: Numbers) -> Tiles:
        """Any loss, as long as it is finite."""
        return np.ones_like(losses, dtype=bool)

    def accepted(self, search: Search, before: Point, step: Tensor, good: Tiles) -> None:
        """The new points and their gradients go into the means."""
        self._remember(search, good)
        self._take_average(search)

    def rejected(self, search: Search, bad: Tiles, losses: Numbers, gradient: Tensor) -> None:
        """Nothing is learned: the means have not seen the gradient there."""

    def result(self, search: Search) -> Tensor:
        """The average of the iterates; the start where there are none."""
        if not self._settings.averaging:
            return search.x
        self._take_average(search)  # the last step has brought no gradient, but a point
        return torch.where(search.column(self._averaged > 0), self._average, search.x)

    def _remember(self, search: Search, tiles: Tiles) -> None:
        self.count = self.count + tiles
        gradient = search.gradient
        for_mean, for_square = (
            per_tile(_shares(decay, self.count, tiles), gradient) for decay in self._settings.betas
        )
        known = torch.where(search.column(tiles), gradient, 0.0)  # 0 times a NaN would be one
        self.mean = (1 - for_mean) * self.mean + for_mean * known
        self.square = (1 - for_square) * self.square + for_square * known.square()

    def _take_average(self, search: Search) -> None:
        """Adds the points of the tiles that have moved since the last time."""
        if not self._settings.averaging:
            return
        moved = np.array(search.iterations) > self._averaged
        self._averaged = self._averaged + moved
        weight = per_tile(_shares(self._settings.averaging, self._averaged, moved), search.x)
        self._average = (1 - weight) * self._average + weight * search.x


def _shares(decay: float, counts: Numbers, tiles: Tiles) -> Numbers:
    """What the newest value of each tile weighs; 0 for those that have none."""
    return np.array([share(decay, int(n)) if tile else 0.0 for n, tile in zip(counts, tiles, strict=True)])
