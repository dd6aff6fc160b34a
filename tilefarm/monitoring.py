"""What a run tells the monitoring of its cluster: a few numbers, kept current from its events.

Who exports them is another's to know: `execute.metrics`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tilefarm.events import (
    Event,
    LevelBegan,
    RoundFinished,
    RunStarted,
    StepTaken,
    TileFinished,
    Transferred,
    WorkerChanged,
    WorkEvent,
    WorkReturned,
)
from tilefarm.execute.metrics import Metric, Recorder
from tilefarm.execute.process import peak_rss
from tilefarm.progress import ProgressModel
from tilefarm.solve.contract import Losses

_TERMS = ("total", "content", "style", "tv")
REFRESH_SECONDS = 5.0
"""Ray shows a gauge for twice its report interval, 20 s, after it was set: all are set again so often."""


TILES = Metric("tilefarm_tiles_done", "counter", "Tiles that are durable, in all rounds.")
TILE_SECONDS = Metric("tilefarm_tile_seconds_spent", "counter", "Seconds that workers spent on those tiles.")
TILE_SPREAD = Metric(
    "tilefarm_tile_seconds",
    "histogram",
    "Seconds per tile. Ray estimates the sum of a histogram: for means use tilefarm_tile_seconds_spent.",
    bounds=(0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
)
STEPS = Metric("tilefarm_steps_done", "counter", "Steps of the exact method, those taken back included.")
STEP_SECONDS = Metric("tilefarm_step_seconds_spent", "counter", "Seconds that those steps took.")
PIXEL_STEPS = Metric("tilefarm_pixel_steps", "counter", "Pixels times passes over them, as workers return.")
LOSS = Metric(
    "tilefarm_loss",
    "gauge",
    "Loss as it stands in the total: of the last step, or the mean of the round's tiles so far.",
    ("run", "level", "term"),
)
RETRIES = Metric("tilefarm_retries", "counter", "Attempts at tiles beyond the first.")
UNDONE = Metric("tilefarm_calls_undone", "counter", "Work that a worker lost, failed or was relieved of.")
BYTES = Metric(
    "tilefarm_bytes",
    "counter",
    "Bytes of pictures and statistics that the driver sent to workers or received.",
    ("run", "level", "direction"),
)
CHANGES = Metric("tilefarm_worker_changes", "counter", "Workers lost, hung, back, gone.", ("run", "change"))
WORKERS = Metric("tilefarm_workers", "gauge", "Workers that get work.", ("run",))
DRIVER_MEMORY = Metric("tilefarm_driver_memory_bytes", "gauge", "Its largest resident size.", ("run",))
SHARE = Metric("tilefarm_progress", "gauge", "Share of the run that is done, 0..1.", ("run",))
SECONDS_LEFT = Metric("tilefarm_seconds_left", "gauge", "At the pace of the present level.", ("run",))

METRICS = (
    TILES,
    TILE_SECONDS,
    TILE_SPREAD,
    STEPS,
    STEP_SECONDS,
    PIXEL_STEPS,
    LOSS,
    RETRIES,
    UNDONE,
    BYTES,
    CHANGES,
    WORKERS,
    DRIVER_MEMORY,
    SHARE,
    SECONDS_LEFT,
)


class Monitor:
    """Takes the events of one run, in any thread, and records what they say; a thread sets gauges again."""

    def __init__(
        self,
        run: str,
        record: Recorder,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[], int] = peak_rss,
    ) -> None:
        """`run` is the run folder's name; `memory` gives the driver's bytes."""
        self._run = {"run": run}
        self._level = {"run": run, "level": ""}
        self._record = record
        self._clock = clock
        self._memory = memory
        self._model = ProgressModel()
        self._gauges: dict[tuple[Metric, tuple[str, ...]], tuple[float, dict[str, str]]] = {}
        self._tiles = 0
        """Of the round in progress, those that this session finished; likewise the sums of their losses."""
        self._sums = dict.fromkeys(_TERMS, 0.0)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._refresh_all, name="metrics", daemon=True)

    def start(self) -> None:
        """Begin to set gauges again by itself."""
        self._thread.start()

    def close(self) -> None:
        """The run's workers go: record no more."""
        self._stop.set()
        self._thread.join()

    def refresh(self) -> None:
        """Look up memory and progress, and set every gauge again."""
        with self._lock:
            self._set(DRIVER_MEMORY, self._memory(), self._run)
            self._set(SHARE, self._model.share, self._run)
            left = self._model.seconds_left(self._clock())
            if left is not None:
                self._set(SECONDS_LEFT, left, self._run)
            for (metric, _), (value, tags) in self._gauges.items():
                self._record(metric, value, tags)

    def _refresh_all(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            self.refresh()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        with self._lock:
            self._model.take(event, self._clock())
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._set(WORKERS, len(event.workers), self._run)
        elif isinstance(event, LevelBegan):
            self._level = {**self._run, "level": str(event.level + 1)}
            self._new_round()
        elif isinstance(event, TileFinished):
            self._tile(event)
        elif isinstance(event, StepTaken):
            self._record(STEPS, 1, self._level)
            self._record(STEP_SECONDS, event.seconds, self._level)
            if event.accepted:
                self._losses(event.weighted, 1)
        elif isinstance(event, RoundFinished):
            self._new_round()
        elif isinstance(event, WorkerChanged):
            self._record(CHANGES, 1, {**self._run, "change": event.change})
            self._set(WORKERS, event.left, self._run)

    def _set(self, gauge: Metric, value: float, tags: dict[str, str]) -> None:
        """From now on, and again with every refresh."""
        self._gauges[gauge, tuple(tags.values())] = value, tags

    def on_work(self, event: WorkEvent) -> None:
        """Take note of work that goes out and comes back."""
        if isinstance(event, Transferred):
            self._record(BYTES, event.bytes, {**self._level, "direction": event.direction})
        elif isinstance(event, WorkReturned) and event.pixel_steps:
            self._record(PIXEL_STEPS, event.pixel_steps, self._level)
        elif isinstance(event, WorkReturned):
            self._record(UNDONE, 1, self._level)

    def _tile(self, event: TileFinished) -> None:
        self._record(TILES, 1, self._level)
        self._record(TILE_SECONDS, event.seconds, self._level)
        self._record(TILE_SPREAD, event.seconds, self._level)
        if event.attempts > 1:
            self._record(RETRIES, event.attempts - 1, self._level)
        self._tiles += 1
        for term in _TERMS:
            self._sums[term] += getattr(event.weighted, term)
        self._losses(Losses(**self._sums), self._tiles)

    def _new_round(self) -> None:
        self._tiles, self._sums = 0, dict.fromkeys(_TERMS, 0.0)

    def _losses(self, weighted: Losses, count: int) -> None:
        """Losses of so many tiles together."""
        for term in _TERMS:
            self._set(LOSS, getattr(weighted, term) / count, {**self._level, "term": term})
