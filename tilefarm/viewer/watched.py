"""What all viewers of a server look at: one run at a time, its state and its pictures, made once for all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from tilefarm.cancel import cancel
from tilefarm.errors import TilefarmError
from tilefarm.pause import pause, unpause
from tilefarm.rundir.layout import RunDir
from tilefarm.viewer.pictures import ContentPicture, LivePicture
from tilefarm.viewer.state import StateReader

STATE_SECONDS = 1.0
_STATE_REST = 200
"""Seconds between two states for each second that one takes."""
_RESTLESS = ("now", "disk_free_bytes")
"""What changes all the time and is no news."""


class Watched:
    """Thread-safe; each call takes its turn."""

    def __init__(self, run: RunDir, clock: Callable[[], float] = time.monotonic) -> None:
        self.viewers = 0
        """Open streams of events."""
        self._clock = clock
        self._lock = Lock()
        self._runs = 0
        self._due = 0.0
        self._number = 0
        self._text = "{}"
        self._news: dict[str, Any] = {}
        self._follow(run)

    def follow(self, run: RunDir) -> None:
        """Show another run from now on."""
        with self._lock:
            self._follow(run)

    def state(self) -> tuple[int, str]:
        """(number, JSON): the state, at most a second old; the number changes when there is news."""
        with self._lock:
            if self._clock() >= self._due:
                begin = self._clock()
                self._read()
                end = self._clock()
                self._due = max(begin + STATE_SECONDS, end + _STATE_REST * (end - begin))
            return self._number, self._text

    def tile(self, version: str, level: int, column: int, row: int) -> bytes | None:
        """A tile of the canvas."""
        with self._lock:
            return self._picture.tile(version, level, column, row)

    def content_tile(self, level: int, column: int, row: int) -> bytes | None:
        """A tile of the content."""
        content, plan = self._content, self._reader.plan
        return content.tile(plan, level, column, row)  # decoding takes long, and has a lock of its own

    def steer(self, what: str) -> tuple[bool, str]:
        """Pause, continue or cancel; whether that was possible, and a sentence."""
        act = {"pause": pause, "continue": unpause, "cancel": cancel}[what]
        try:
            said = act(self._reader.run)
        except TilefarmError as error:
            return False, str(error)
        self.refresh()
        return True, said

    def refresh(self) -> None:
        """Look anew at the next question, however soon that is."""
        with self._lock:
            self._due = 0.0

    def _follow(self, run: RunDir) -> None:
        self._runs += 1
        self._reader = StateReader(run)
        self._picture = LivePicture(str(self._runs))
        self._content = ContentPicture(run)
        self._due = 0.0

    def _read(self) -> None:
        reader = self._reader
        record = reader.read()
        at_work = reader.status in ("running", "paused")
        self._picture.look(reader.run, reader.plan, reader.history.state, at_work)
        record["picture"] = self._picture.record()
        record["content"] = self._content.size(reader.plan)
        news = {key: value for key, value in record.items() if key not in _RESTLESS}
        if news != self._news:
            self._news = news
            self._number += 1
        self._text = json.dumps(record, separators=(",", ":"), allow_nan=False, default=str)
