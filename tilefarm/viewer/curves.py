"""How the losses fell, as a display needs it: few points, whatever the number of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tilefarm.foreign import counted, finite_terms, is_whole_number

MOST_POINTS = 600
_KEPT = 2 * MOST_POINTS
"""Points of a level in memory, at most."""
_TERMS = ("total", "content", "style", "tv")
_MOST_LEVELS = 100
_OF_A_LEVEL = ("LevelBegan", "StepTaken", "LevelSolved", "TileFinished")

_Item = TypeVar("_Item")


class Curves:
    """Weighted losses by level and step, from records of events.jsonl in their order.

    Of a level in tiles a point is the mean over the tiles of a round that are finished so far.
    """

    def __init__(self) -> None:
        self._levels: dict[int, list[dict[str, Any]]] = {}
        self._iterations: dict[int, int] = {}
        self._of_round: dict[int, dict[str, float]] = {}
        """By tile, of the round in progress."""
        self._sums = dict.fromkeys(_TERMS, 0.0)
        self._round = (-1, -1)

    def take(self, record: Mapping[str, Any]) -> None:
        """Take one record into account. Raises KeyError, TypeError, ValueError for another version's."""
        kind = record["event"]
        if kind in _OF_A_LEVEL and not (is_whole_number(record["level"]) and record["level"] < _MOST_LEVELS):
            raise ValueError(f"{record['level']!r} is no level")
        if kind == "LevelBegan":
            level = record["level"]
            self._iterations[level] = counted(record["iterations"])
            for finer in [each for each in self._levels if each > level]:
                del self._levels[finer]
        elif kind == "StepTaken" and record["accepted"]:
            self._add(record["level"], record["iteration"], record["weighted"])
        elif kind == "LevelSolved":
            self._levels.pop(record["level"], None)
            for step, losses in enumerate(record["weighted"], start=1):
                self._add(record["level"], step, losses)
        elif kind == "TileFinished":
            self._take_tile(record)

    def points(self) -> list[dict[str, Any]]:
        """At most `MOST_POINTS`, the first and the last of every level among them; levels from 1."""
        if not self._levels:
            return []
        share = max(2, MOST_POINTS // len(self._levels))
        return [point for level in sorted(self._levels) for point in thinned(self._levels[level], share)]

    def ends(self, level: int) -> tuple[float | None, float | None]:
        """The first and the last total of a level that is known."""
        points = self._levels.get(level)
        return (points[0]["total"], points[-1]["total"]) if points else (None, None)

    def _take_tile(self, record: Mapping[str, Any]) -> None:
        level, number = record["level"], counted(record["round"])
        if self._round != (level, number):
            self._round = (level, number)
            self._of_round, self._sums = {}, dict.fromkeys(_TERMS, 0.0)
        losses = finite_terms(record["weighted"], _TERMS)
        before = self._of_round.get(record["tile"], dict.fromkeys(_TERMS, 0.0))
        self._of_round[record["tile"]] = losses
        self._sums = {term: self._sums[term] + losses[term] - before[term] for term in _TERMS}
        iterations = self._iterations.get(level, counted(record["iterations"]))
        if record["total"] == 1 and self._levels.get(level):
            return  # the curve of a level that was solved whole is known step by step
        count = len(self._of_round)
        self._add(level, (number + 1) * iterations, {term: self._sums[term] / count for term in _TERMS})

    def _add(self, level: int, step: int, losses: Mapping[str, float]) -> None:
        point = {"level": level + 1, "step": counted(step), **finite_terms(losses, _TERMS)}
        points = self._levels.setdefault(level, [])
        while points and points[-1]["step"] >= step:  # told again by a level that was begun anew
            points.pop()
        points.append(point)
        if len(points) > _KEPT:
            self._levels[level] = thinned(points, MOST_POINTS)


def thinned(points: Sequence[_Item], most: int) -> list[_Item]:
    """At most so many (2 or more) of the points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[round(number * last / (most - 1))] for number in range(most)]
