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
from tilefarm.viewer.state import AT_WORK, StateReader
from tilefarm.viewer.turn import Turn

STATE_SECONDS = 1.0
_STATE_REST = 200
"""Seconds between two states for each second of processor time that one takes. Reading on in the logs, which
is done once for each line, and new pictures, which have a measure of their own, do not count: after the first
look at a long run the page would else stand still for minutes."""
_RESTLESS = ("now", "disk_free_bytes")
"""What changes all the time and is no news."""


class Watched:
    """Thread-safe; each call takes its turn."""

    def __init__(
        self,
        run: RunDir,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
        turn: Turn | None = None,
    ) -> None:
        self.viewers = 0
        """Open streams of events."""
        self._clock = clock
        self._spent = spent
        self._lock = Lock()
        self._runs = 0
        self._due = 0.0
        self._number = 0
        self._text = "{}"
        self._news: dict[str, Any] = {}
        self._follow(run, turn)

    def follow(self, run: RunDir, turn: Turn | None = None) -> None:
        """Show another run from now on; `turn`: which of several."""
        with self._lock:
            self._follow(run, turn)

    def state(self) -> tuple[int, str]:
        """(number, JSON): the state, at most a second old; the number changes when there is news."""
        with self._lock:
            if self._clock() >= self._due:
                begin = self._clock()
                cost = self._read()
                self._due = max(begin + STATE_SECONDS, self._clock() + _STATE_REST * cost)
            return self._number, self._text

    def tile(self, version: str, level: int, column: int, row: int) -> bytes | None:
        """A tile of the canvas."""
        with self._lock:
            return self._picture.tile(version, level, column, row)

    def content_tile(self, version: str, level: int, column: int, row: int) -> bytes | None:
        """A tile of the content."""
        with self._lock:
            content, plan, now = self._content, self._reader.plan, str(self._runs)
        if version != now:
            return None
        return content.tile(plan, level, column, row)  # decoding takes long, and has a lock of its own

    def steer(self, what: str) -> tuple[bool, str]:
        """Pause, continue or cancel; whether that was possible, and a sentence."""
        act = {"pause": pause, "continue": unpause, "cancel": cancel}[what]
        try:
            said = act(self._reader.run)
        except TilefarmError as error:
            return False, str(error)
        except OSError as error:  # another user's folder, a disk that is gone
            return False, f"{error.filename or self._reader.run.root}: {error.strerror or error}"
        self.refresh()
        return True, said

    def refresh(self) -> None:
        """Look anew at the next question, however soon that is."""
        with self._lock:
            self._due = 0.0

    def _follow(self, run: RunDir, turn: Turn | None) -> None:
        self._runs += 1
        self._reader = StateReader(run, turn)
        self._picture = LivePicture(str(self._runs))
        self._content = ContentPicture(run)
        self._due = 0.0

    def _read(self) -> float:
        """Put the state together; the processor seconds that this took."""
        reader = self._reader
        reader.catch_up()
        begin = self._spent()
        record = reader.read()
        cost = self._spent() - begin
        at_work = reader.status in AT_WORK
        self._picture.look(reader.run, reader.plan, reader.history.state, at_work)
        begin = self._spent()
        record["picture"] = self._picture.record()
        content = self._content.size(reader.plan)
        record["content"] = None if content is None else content | {"version": str(self._runs)}
        news = {key: value for key, value in record.items() if key not in _RESTLESS}
        text = json.dumps(record, separators=(",", ":"), allow_nan=False)
        if news != self._news:
            self._news = news
            self._number += 1
        self._text = text
        return cost + self._spent() - begin
