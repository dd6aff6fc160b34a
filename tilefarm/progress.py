"""How far a run is: one small model that every display reads."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tilefarm.events import (
    Continued,
    Event,
    LevelBegan,
    LevelFinished,
    RoundFinished,
    RunStarted,
    StepsProgress,
    StepTaken,
    TileFinished,
)


@dataclass
class ProgressModel:
    """Fed with events; answers what is done, how fast, and how long it will take."""

    work: tuple[int, ...] = ()
    level: LevelBegan | None = None
    round: int = 0
    done: int = 0
    """Tiles of the round in progress that are finished."""
    step: int = 0
    """Of the tile that told of itself last."""
    loss: float | None = None
    _tile_steps: dict[int, float] = field(default_factory=dict)
    """Per tile in flight, the finished share of its steps."""
    _begin: float = 0.0
    _begin_work: float = 0.0
    _tiles_since_begin: int = 0

    def take(self, event: Event, now: float | None = None) -> None:
        """Take one event into account; `now` is the monotonic clock in seconds."""
        now = time.monotonic() if now is None else now
        if isinstance(event, RunStarted):
            self.work = event.work
        elif isinstance(event, LevelBegan):
            self.level, self.round, self.done, self.step, self.loss = event, 0, 0, 0, None
            self._tile_steps.clear()
            self._restart(now)
        elif isinstance(event, StepsProgress):
            if event.round != self.round:  # resumed in the middle of a level
                self._restore(event.round, 0)
            self._tile_steps[event.tile] = event.iteration / event.iterations
            self.step, self.loss = event.iteration, event.loss
        elif isinstance(event, StepTaken):
            self._take_step(event, now)
        elif isinstance(event, TileFinished):
            if event.round != self.round or event.done - self.done > 1:  # a resumed round starts with tiles
                self._restore(event.round, event.done - 1)
            self.done = event.done
            self._tile_steps.pop(event.tile, None)
            self._tiles_since_begin += 1
            self.loss = event.last.total
        elif isinstance(event, RoundFinished):
            self.round, self.done = event.round + 1, 0
            self._tile_steps.clear()
            self.loss = event.loss_last
        elif isinstance(event, LevelFinished):
            self._tile_steps.clear()
        elif isinstance(event, Continued):
            self._begin += event.seconds  # a pause is no part of the pace

    def _take_step(self, event: StepTaken, now: float) -> None:
        resumed = not self._tile_steps and event.iteration > 1
        self._tile_steps[0] = event.iteration / event.iterations
        self.step = event.iteration
        if event.accepted:
            self.loss = event.losses.total
        if resumed:
            self._restart(now)

    @property
    def work_done(self) -> float:
        """Pixel steps that are done, those of the tiles in flight included."""
        if self.level is None or self.level.level >= len(self.work):  # of a log without its beginning
            return 0.0
        before = sum(self.work[: self.level.level])
        rounds = min(1.0, (self.round + self._share_of_round()) / self.level.rounds)
        return before + self.work[self.level.level] * rounds

    @property
    def share(self) -> float:
        """Between 0 and 1, of the whole run."""
        return self.work_done / sum(self.work) if self.work else 0.0

    def seconds_left(self, now: float | None = None) -> float | None:
        """At the pace of this level so far; None before there is one."""
        now = time.monotonic() if now is None else now
        advanced = self.work_done - self._begin_work
        if advanced <= 0 or now <= self._begin:
            return None
        return (sum(self.work) - self.work_done) * (now - self._begin) / advanced

    def tiles_per_second(self, now: float | None = None) -> float | None:
        """Of this level; None before the first tile."""
        now = time.monotonic() if now is None else now
        if not self._tiles_since_begin or now <= self._begin:
            return None
        return self._tiles_since_begin / (now - self._begin)

    def _share_of_round(self) -> float:
        assert self.level is not None
        return (self.done + sum(self._tile_steps.values())) / self.level.tiles

    def _restore(self, round_number: int, done: int) -> None:
        """What an earlier session did is no work of this one; the pace is that since the level began."""
        self.round, self.done = round_number, done
        in_flight, self._tile_steps = self._tile_steps, {}
        self._begin_work = self.work_done
        self._tile_steps = in_flight

    def _restart(self, now: float) -> None:
        """Measure the pace from here: levels differ."""
        self._begin, self._begin_work, self._tiles_since_begin = now, self.work_done, 0
