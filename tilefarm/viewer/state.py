"""The state of a run as the page shows it: what its files say, put together."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from tilefarm.errors import TilefarmError
from tilefarm.foreign import finite_or_none
from tilefarm.geometry import Box, Size
from tilefarm.live import fractions
from tilefarm.report.tables import effective_status
from tilefarm.rundir.layout import RunDir, is_locked
from tilefarm.rundir.live import read_live
from tilefarm.rundir.state import RunState
from tilefarm.rundir.summary import read_summary
from tilefarm.viewer.history import History
from tilefarm.viewer.pausing import pausing
from tilefarm.viewer.records import LiveSeen, read_plan, seen, strange_file, text_or_none
from tilefarm.viewer.turn import Turn

AT_WORK = ("running", "pausing", "paused")
"""While a driver has the run."""


class StateReader:
    """Builds the state of one run from its folder, reading only what is new."""

    def __init__(self, run: RunDir, turn: Turn | None = None) -> None:
        self.run = run
        self.turn = turn
        self.history = History(run)
        self.status = "waiting"
        self.plan: dict[str, Any] = {}

    def catch_up(self) -> None:
        """Read what the logs have had since the last look; `read` does so, too."""
        if strange_file(self.run) is None:
            self.history.read_on()

    def read(self) -> dict[str, Any]:
        """The state; no value is guessed, and what is not known is None."""
        run = self.run
        strange = strange_file(run)
        readable = strange is None
        locked, record = is_locked(run), _summary(run) if readable else {}
        if readable:
            self.history.read_on()
        self.plan = read_plan(run) if readable else {}
        live = seen(LiveSeen, read_live(run)) if locked and readable else {}
        self.status = _status(record, locked, run.pause.exists(), live.get("paused", False))
        going_on = self.status in AT_WORK
        levels = self._levels(going_on)
        message = strange if going_on or strange else text_or_none(record.get("message"))
        if self.status == "pausing":
            message = pausing(live, levels, self.turn)
        current = next((level["level"] - 1 for level in levels if level["state"] == "current"), None)
        return {
            "name": run.name,
            "root": str(run.root),
            "turn": self.turn.record() if self.turn and self.turn.total > 1 else None,
            "status": self.status,
            "message": message,
            "method": text_or_none(record.get("method")),
            "network": text_or_none(record.get("network")),
            "precision": self._precision(record),
            "output": text_or_none(record.get("output")),
            "resume": f"tilefarm resume {shlex.quote(str(run.root))}",
            "now": round(time.time(), 3),
            "share": 1.0 if self.status == "done" else live.get("share"),
            "seconds": live.get("seconds", finite_or_none(record.get("seconds"))),
            "seconds_left": live.get("seconds_left"),
            "size": _size(self.plan.get("output")),
            "levels": levels,
            **{key: live.get(key) for key in _OF_LIVE},
            "tiles": {
                "done": [] if current is None else self._done_boxes(current),
                "in_flight": live.get("in_flight", []),
                "total": None if current is None else levels[current]["tiles"],
            },
            "losses": self.history.curves.points(),
            "workers": [_worker(worker) for worker in live.get("workers", [])],
            "driver": {"rss_bytes": live.get("driver_rss_bytes")},
            "disk_free_bytes": _disk_free(run),
            "faults": self._faults(),
            "said": list(self.history.said),
            "can": {
                "pause": self.status == "running",
                "continue": self.status in ("pausing", "paused"),
                "cancel": going_on,
            },
        }

    def _precision(self, record: Mapping[str, Any]) -> str | None:
        started = self.history.state.started
        return text_or_none(record.get("precision")) if started is None else started.precision

    def _levels(self, going_on: bool) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for index, level in enumerate(self.plan.get("levels", [])):
            state = self.history.state
            complete = state.rounds_done(index) == level["rounds"]
            is_current = not complete and all(before["state"] == "done" for before in found)
            first, last, seconds = self._outcome(state, index)
            found.append(
                {
                    "level": index + 1,
                    "width": level["width"],
                    "height": level["height"],
                    "tiles": max(level["tiles"], level["pieces"]),
                    "rounds": level["rounds"],
                    "iterations": level["iterations"],
                    "state": "done" if complete else "current" if is_current and going_on else "waiting",
                    "loss_first": first,
                    "loss_last": last,
                    "seconds": seconds,
                }
            )
        return found

    def _outcome(self, state: RunState, index: int) -> tuple[float | None, float | None, float | None]:
        """First loss, last loss and seconds: of finished rounds, else of the steps so far."""
        rounds = [state.rounds[key] for key in sorted(state.rounds) if key[0] == index]
        if not rounds:
            first, last = self.history.curves.ends(index)
            tiles = state.tiles_done(index, 0).values()
            return fmean(tile.loss_first for tile in tiles) if tiles else first, last, None
        begun = state.levels.get(index)
        seconds = sum(line.seconds for line in rounds) + (begun.seconds if begun else 0.0)
        return rounds[0].loss_first, rounds[-1].loss_last, round(seconds, 3)

    def _done_boxes(self, index: int) -> list[list[float]]:
        """Where tiles of the round in progress are finished; neighbours in a row are one box."""
        level = self.plan["levels"][index]
        if level["tiles"] < 2:
            return []
        done = self.history.state.tiles_done(index, self.history.state.rounds_done(index))
        size = Size(level["width"], level["height"])
        found = []
        for first, last in row_runs(sorted(done), level["columns"]):
            begin, end = tile_box(level, first), tile_box(level, last)
            found.append(fractions(Box(begin.left, begin.top, end.right, end.bottom), size))
        return found

    def _faults(self) -> dict[str, int]:
        history = self.history
        unfinished = [level for level, _ in history.taken_back if not history.state.rounds_done(level)]
        return {
            "tile_retries": history.state.tile_retries,
            "worker_losses": history.worker_losses,
            "rollbacks": history.state.rollbacks + len(unfinished),
            "numbers_gone_wrong": history.state.numbers_gone_wrong,
        }


_OF_LIVE = ("level", "round", "rounds", "iteration", "iterations", "doing", "pieces")


def tile_box(level: Mapping[str, Any], index: int) -> Box:
    """Where tile `index` of a level of plan.json is, in the level's pixels; it may reach beyond them."""
    row, column = divmod(index, level["columns"])
    width, height, padding = level["tile_width"], level["tile_height"], level["padding"]
    left, top = column * (width // 2) - padding["left"], row * (height // 2) - padding["top"]
    return Box(left, top, left + width, top + height)


def row_runs(tiles: Sequence[int], columns: int) -> Iterator[tuple[int, int]]:
    """The first and last of every run of neighbours in a row; `tiles` ascend."""
    first = last = None
    for tile in tiles:
        if first is not None and last is not None and (tile != last + 1 or tile % columns == 0):
            yield first, last
            first = tile
        first, last = tile if first is None else first, tile
    if first is not None and last is not None:
        yield first, last


def _status(record: dict[str, Any], locked: bool, asked: bool, resting: bool) -> str:
    """`asked`: to rest; `resting`: the driver says that it does."""
    if locked and not (record and asked):  # whatever an earlier driver wrote
        return "running"
    if locked:
        return "paused" if resting else "pausing"
    return effective_status(record, locked) if record else "waiting"


def _summary(run: RunDir) -> dict[str, Any]:
    try:
        return read_summary(run) or {}
    except (TilefarmError, RecursionError):  # damaged: its driver writes it anew
        return {}


def _size(record: Mapping[str, int] | None) -> dict[str, int] | None:
    return None if record is None else {"width": record["width"], "height": record["height"]}


def _worker(live: Mapping[str, Any]) -> dict[str, Any]:
    busy = live["busy_seconds"]
    speed = finite_or_none(round(live["megapixels"] / busy, 3)) if busy and live["megapixels"] else None
    kept = {key: live[key] for key in ("worker", "device", "state", "done", "rss_bytes")}
    return kept | {"megapixels_per_second": speed}


def _disk_free(run: RunDir) -> int | None:
    try:
        return shutil.disk_usage(run.root).free
    except OSError:
        return None
