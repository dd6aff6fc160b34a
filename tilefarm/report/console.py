"""Progress in the terminal: a live line where there is one, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from tilefarm.events import (
    AnimationWritten,
    Continued,
    Event,
    LevelBegan,
    LevelFinished,
    Noted,
    Paused,
    PiecesProgress,
    RoundFinished,
    RunFinished,
    RunStarted,
    StepTaken,
    TileFinished,
    WorkerChanged,
)
from tilefarm.progress import ProgressModel

PLAIN_SECONDS = 15.0
"""Without a terminal, at most one line of tile progress in so many seconds."""


class ConsoleReport:
    """Listens to one run and writes to standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._model = ProgressModel()
        self._last_plain = time.monotonic()
        self._live: Progress | None = None
        if console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:3.0f}%"),
                TextColumn("{task.fields[detail]}", markup=False),
                console=console,
                transient=True,
            )
            self._task = self._live.add_task("starting", total=1.0, detail="")

    def __enter__(self) -> ConsoleReport:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._model.take(event)
        line = _line(event)
        if line is not None:
            self._say(line)
        if self._live is not None:
            self._update(event)
        elif self._moved(event):
            self._plain_progress()

    def _update(self, event: Event) -> None:
        assert self._live is not None
        detail = _detail(self._model)
        if isinstance(event, PiecesProgress):
            detail = f"{detail}, {event.doing} {event.done}/{event.total}".removeprefix(", ")
        self._live.update(
            self._task, completed=self._model.share, description=_where(self._model), detail=detail
        )

    def _moved(self, event: Event) -> bool:
        """Whether there may be something to tell between the rounds: a tile, or a step of an exact level."""
        if isinstance(event, TileFinished):
            return event.done < event.total
        return isinstance(event, StepTaken) and event.iteration < event.iterations

    def _plain_progress(self) -> None:
        now = time.monotonic()
        if now - self._last_plain >= PLAIN_SECONDS:
            self._last_plain = now
            self._say(f"{_where(self._model)}: {_detail(self._model)}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def counted(number: int, noun: str) -> str:
    """1 piece, 2 pieces."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _where(model: ProgressModel) -> str:
    level = model.level
    if level is None:
        return "starting"
    text = f"level {level.level + 1} of {len(model.work)}, {level.size}"
    return (
        text if level.rounds == 1 else f"{text}, round {min(model.round + 1, level.rounds)} of {level.rounds}"
    )


def _detail(model: ProgressModel) -> str:
    parts = []
    if model.level is not None and model.level.tiles > 1:
        parts.append(f"tiles {model.done}/{model.level.tiles}")
        if (rate := model.tiles_per_second()) is not None:
            parts.append(f"{rate:.2f} tiles/s")
    elif model.level is not None and model.step:
        parts.append(f"step {model.step}/{model.level.iterations}")
    if model.loss is not None:
        parts.append(f"loss {model.loss:.4g}")
    if (left := model.seconds_left()) is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def _line(event: Event) -> str | None:
    """The line that stays on the screen, None for events that only move the live line."""
    if isinstance(event, RunStarted):
        verb = "resuming" if event.resumed else "rendering"
        crew = f"{counted(len(event.workers), 'worker')} ({'; '.join(event.workers)})"
        return (
            f"{verb} {event.name} at {event.output}, {len(event.work)} levels, {crew}, {event.precision}\n"
            f"run folder {event.root}" + "".join(f"\nnote: {note}" for note in event.notes)
        )
    if isinstance(event, LevelBegan):
        tiles = "whole" if event.tiles == 1 else f"{event.tiles} tiles, {event.rounds} rounds"
        if event.pieces:
            tiles = f"exact, {counted(event.pieces, 'piece')}"
        return f"level {event.level + 1}, {event.size}: {tiles}, {event.iterations} iterations"
    if isinstance(event, RoundFinished):
        losses = f"loss {event.loss_first:.4g} -> {event.loss_last:.4g}"
        return f"  round {event.round + 1}: {losses} in {duration(event.seconds)}"
    if isinstance(event, LevelFinished):
        return f"  preview {event.preview}"
    if isinstance(event, AnimationWritten):
        return f"wrote {event.path} ({event.size}, {event.frames} frames, {event.bytes / 1e6:.1f} MB)"
    if isinstance(event, Noted):
        return f"note: {event.note}"
    if isinstance(event, RunFinished):
        return f"wrote {event.output} ({event.size})"
    if isinstance(event, WorkerChanged):
        return worker_line(event)
    if isinstance(event, Paused):
        return f"  paused; go on with: tilefarm unpause {event.root}"
    if isinstance(event, Continued):
        return f"  going on after a pause of {duration(event.seconds)}"
    return None


_CHANGES = {
    "lost": "is gone and is started again, its work is done elsewhere",
    "hung": "was ended and is started again, its work is done elsewhere",
    "back": "is back",
    "set aside": "is set aside",
    "fewer": "needed more memory than there was, fewer work at a time from now on",
    "gone": "will not come back",
    "joined": "has joined",
    "refused": "could not join",
}


def worker_line(event: WorkerChanged) -> str:
    """What became of a worker, in a sentence."""
    why = f" ({event.reason})" if event.reason else ""
    return (
        f"  worker {event.worker + 1} {_CHANGES[event.change]}{why}: {counted(event.left, 'worker')} at work"
    )
