"""How a run stands at this moment, gathered from events and written down for displays once a second.

Events only note what they say; a thread of its own looks at memory and writes. A run's result knows nothing
of it.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from tilefarm.events import (
    Continued,
    Event,
    LevelBegan,
    LevelFinished,
    Paused,
    PiecesProgress,
    RoundFinished,
    RunFinished,
    StepsProgress,
    StepTaken,
    TileFinished,
    WorkerChanged,
    WorkGiven,
    WorkReturned,
)
from tilefarm.execute.protocol import WorkerInfo
from tilefarm.geometry import Box, Size
from tilefarm.plan.build import RenderPlan
from tilefarm.plan.grid import BORDER
from tilefarm.progress import ProgressModel
from tilefarm.rundir.holder import Holder
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.live import LiveFile

WRITE_SECONDS = 1.0
_STATES = {"lost": "lost", "hung": "lost", "gone": "lost", "set aside": "set aside", "back": "there"}


@dataclass
class _LiveWorker:
    """One worker as its events tell."""

    device: str
    process: int | None
    """None for one on another machine, or whose process is not known."""
    state: str = "there"
    has: list[WorkGiven] = field(default_factory=list)
    done: int = 0
    pixel_steps: int = 0
    busy_since: float | None = None
    busy_seconds: float = 0.0

    def given(self, event: WorkGiven, now: float) -> None:
        self.has.append(event)
        self.busy_since = now if self.busy_since is None else self.busy_since

    def returned(self, event: WorkReturned, now: float) -> None:
        self.has = [work for work in self.has if (work.kind, work.numbers) != (event.kind, event.numbers)]
        self.done += event.pixel_steps > 0
        self.pixel_steps += event.pixel_steps
        if not self.has and self.busy_since is not None:
            self.busy_seconds += now - self.busy_since
            self.busy_since = None

    def changed(self, event: WorkerChanged) -> None:
        if event.change in _STATES:
            self.state = _STATES[event.change]
            self.process = event.process

    def record(self, number: int, now: float) -> dict[str, Any]:
        busy = self.busy_seconds + (now - self.busy_since if self.busy_since is not None else 0)
        state = self.state if self.state != "there" else "working" if self.has else "idle"
        return {
            "worker": number + 1,
            "device": self.device,
            "state": state,
            "done": self.done,
            "megapixels": round(self.pixel_steps / 1e6, 3),
            "busy_seconds": round(busy, 3),
            "rss_bytes": _rss(self.process),
        }


class LiveData:
    """Takes a driver's events, in any thread, and keeps `live.json` until it is closed."""

    def __init__(self, run: RunDir, seconds_before: float = 0.0) -> None:
        """`seconds_before`: of work in earlier sessions."""
        holder = Holder.this_process()
        self._driver = [holder.process, holder.started]
        self._file = LiveFile(run)
        self._before = seconds_before
        self._began = time.monotonic()
        self._rested = 0.0
        self._plan: RenderPlan | None = None
        self._workers: list[_LiveWorker] = []
        self._model = ProgressModel()
        self._steps: dict[int, int] = {}
        self._doing: str | None = "starting"
        self._pieces: list[int] | None = None
        self._paused_at: float | None = None
        self._changed = True
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    def begin(self, plan: RenderPlan, workers: Sequence[WorkerInfo]) -> None:
        """The work begins with these workers."""
        here = platform.node()
        with self._lock:
            self._plan = plan
            self._workers = [
                _LiveWorker(
                    f"{worker.device} ({worker.device_name})", worker.process if worker.node == here else None
                )
                for worker in workers
            ]

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        now = time.monotonic()
        with self._lock:
            self._model.take(event, now)
            self._take(event, now)
            self._changed = True

    def take_work(self, event: WorkGiven | WorkReturned) -> None:
        """Take note of what a worker has in hand."""
        now = time.monotonic()
        with self._lock:
            self._take_work(event, now)
            self._changed = True

    def close(self) -> None:
        """Write no more; the file goes."""
        self._stop.set()
        self._thread.join()
        self._file.remove()

    def _run(self) -> None:
        while not self._stop.wait(WRITE_SECONDS):
            self._write()

    def _write(self) -> None:
        """If there is news."""
        if self._changed:
            with self._lock:
                self._changed = False
                record = self._record(time.monotonic())
            self._file.write(record)

    def _take(self, event: Event, now: float) -> None:
        if isinstance(event, WorkerChanged):
            if event.change == "joined" and event.worker == len(self._workers):
                self._workers.append(_LiveWorker(event.reason, event.process))
            elif event.worker < len(self._workers):
                self._workers[event.worker].changed(event)
        elif isinstance(event, StepsProgress):
            self._steps[event.tile] = event.iteration
        elif isinstance(event, TileFinished):
            self._steps.pop(event.tile, None)
        elif isinstance(event, PiecesProgress):
            self._doing, self._pieces = event.doing, [event.done, event.total]
        elif isinstance(event, LevelBegan):
            self._doing, self._pieces = "preparing", None
        elif isinstance(event, StepTaken | RoundFinished):
            self._pieces = None
        elif isinstance(event, LevelFinished):
            self._doing, self._pieces = "writing", None
        elif isinstance(event, RunFinished):
            self._doing = None
        elif isinstance(event, Paused):
            self._paused_at = now
        elif isinstance(event, Continued):
            self._rested += event.seconds
            self._paused_at = None

    def _take_work(self, event: WorkGiven | WorkReturned, now: float) -> None:
        if event.worker >= len(self._workers):
            return
        worker = self._workers[event.worker]
        if isinstance(event, WorkGiven):
            worker.given(event, now)
            if event.kind == "tiles":
                self._doing, self._pieces = "painting", None
        else:
            worker.returned(event, now)
            for number in event.numbers if event.kind == "tiles" else ():
                self._steps.pop(number, None)

    def _record(self, now: float) -> dict[str, Any]:
        model, level = self._model, self._model.level
        resting = now - self._paused_at if self._paused_at is not None else 0.0
        seconds = self._before + now - self._began - self._rested - resting
        left = model.seconds_left(now - resting)
        return {
            "driver": self._driver,
            "time": round(time.time(), 3),
            "paused": self._paused_at is not None,
            "share": round(model.share, 5),
            "seconds": round(seconds, 1),
            "seconds_left": None if left is None else round(left, 1),
            "level": None if level is None else level.level + 1,
            "round": None if level is None else min(model.round + 1, level.rounds),
            "rounds": None if level is None else level.rounds,
            "iteration": model.step,
            "iterations": None if level is None else level.iterations,
            "doing": self._doing,
            "pieces": self._pieces,
            "in_flight": list(self._in_flight()),
            "workers": [worker.record(number, now) for number, worker in enumerate(self._workers)],
            "driver_rss_bytes": _rss(None, own=True),
        }

    def _in_flight(self) -> list[dict[str, Any]]:
        """Where in the picture each worker is: tiles, or pieces of the exact method."""
        level = self._model.level
        if level is None or self._plan is None:
            return []
        plan = self._plan.levels[level.level]
        found = []
        for number, worker in enumerate(self._workers):
            for work in worker.has[:1]:  # the others wait in line
                if work.kind == "tiles":
                    boxes = [plan.grid.box(tile) for tile in work.numbers]
                elif work.kind == "piece" and plan.pieces:
                    cores = [plan.pieces[piece].core for piece in work.numbers]
                    boxes = [
                        Box(core.left - BORDER, core.top - BORDER, core.right - BORDER, core.bottom - BORDER)
                        for core in cores
                    ]
                else:
                    continue
                step = self._steps.get(work.numbers[0])
                of_tiles = {"iteration": step, "iterations": plan.iterations} if work.kind == "tiles" else {}
                found += [
                    {"box": fractions(box, plan.size), "worker": number + 1, **of_tiles} for box in boxes
                ]
        return found


def fractions(box: Box, size: Size) -> list[float]:
    """[left, top, right, bottom] as parts of the picture's size, clipped to it: 0..1."""
    across, down = ((box.left, box.right), size.width), ((box.top, box.bottom), size.height)
    (left, right), (top, bottom) = (
        [round(min(max(end / length, 0.0), 1.0), 5) for end in ends] for ends, length in (across, down)
    )
    return [left, top, right, bottom]


def _rss(process: int | None, own: bool = False) -> int | None:
    """Resident bytes of a process of this machine; None where that is not known."""
    if process is None and not own:
        return None
    try:
        return int(psutil.Process(process).memory_info().rss)
    except psutil.Error:
        return None
