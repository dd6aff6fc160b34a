"""Nonlinear conjugate gradients for a batch of independent problems; `solve.conjugate` decides."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tilefarm.solve.conjugate import (
    advice,
    first_step,
    is_sufficient,
    retried,
    turn,
)
from tilefarm.solve.history import dot, norm1
from tilefarm.solve.search import (
    Numbers,
    Point,
    Search,
    Status,
    Tiles,
    largest,
    per_tile,
)
from tilefarm.solve.tolerances import GRADIENT_TOLERANCE


class ConjugateGradients:
    """The directions of a batch, `search.Method`. Every tile has a step of its own."""

    def __init__(self, search: Search) -> None:
        gradient = search.gradient
        self._expected = gradient
        self._direction = -gradient
        self._before = torch.zeros_like(gradient)
        squares, norms = dot(gradient, gradient), norm1(gradient)
        self._steps = [first_step(float(n), float(s)) for n, s in zip(norms, squares, strict=True)]

    def propose(self, search: Search) -> Tensor:
        """The step from every tile's point, (B, D); a tile where it leads no further down has ended."""
        descents = np.array([step.descent for step in self._steps])
        search.end(~(descents < 0), Status.NO_DESCENT)
        return self._whole()

    def acceptable(self, search: Search, losses: Numbers) -> Tiles:
        """Where the loss has fallen enough for the step."""
        tiles = zip(self._steps, search.loss, losses, strict=True)
        return np.array([is_sufficient(step, float(old), float(new)) for step, old, new in tiles], dtype=bool)

    def accepted(self, search: Search, before: Point, step: Tensor, good: Tiles) -> None:
        """Turns the tiles that go on to their new directions."""
        steepest = largest(search.gradient)
        search.end(good & (steepest <= GRADIENT_TOLERANCE * search.unit), Status.SMALL_GRADIENT)
        going = good & search.running
        if not going.any():
            return
        known = (search.gradient, self._expected, self._direction)
        dots = np.array([[dot(a, b) for b in known] for a in known])
        expected, direction = np.zeros((3, len(going))), np.zeros((3, len(going)))
        for tile in np.flatnonzero(going):
            found = turn(dots[:, :, tile], self._steps[tile])
            self._steps[tile] = found.step
            expected[:2, tile] = found.expected
            direction[:, tile] = found.direction
        column = search.column(going)
        self._before = torch.where(column, self._direction, self._before)
        self._expected, self._direction = (
            torch.where(column, _sum(known, expected), self._expected),
            torch.where(column, _sum(known, direction), self._direction),
        )

    def rejected(self, search: Search, bad: Tiles, losses: Numbers, gradient: Tensor) -> None:
        """Shortens the steps of the tiles `bad`."""
        column = search.column(bad)
        there = torch.where(column, gradient, 0.0)
        along, expected = dot(there, self._direction), dot(self._expected, self._direction)
        merged = np.zeros_like(bad)
        whole = self._whole()
        for tile in np.flatnonzero(bad):
            self._steps[tile], merged[tile] = retried(
                self._steps[tile],
                first=bool(search.rollbacks_in_row[tile] == 1),
                advised=advice(float(along[tile]), float(expected[tile])),
                before=float(search.loss[tile]),
                loss=float(losses[tile]),
            )
        column = search.column(merged)
        self._direction = torch.where(column, whole, self._direction)
        self._expected = torch.where(column, search.gradient, self._expected)

    def result(self, search: Search) -> Tensor:
        """The last good points."""
        return search.x

    def _whole(self) -> Tensor:
        lead, length = (np.array([getattr(step, key) for step in self._steps]) for key in ("lead", "length"))
        return per_tile(lead, self._before) * self._before + per_tile(length, self._before) * self._direction


def _sum(vectors: tuple[Tensor, ...], coefficients: Numbers) -> Tensor:
    """Three vectors (B, D) times their coefficients (3, B), added up."""
    terms = [per_tile(row, vector) * vector for row, vector in zip(coefficients, vectors, strict=True)]
    return terms[0] + terms[1] + terms[2]
