"""events.jsonl: what happened, for plots and for people.

Nothing depends on it: a record that does not fit on the disk any more is left out.
"""

from __future__ import annotations

import dataclasses
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

PROGRESS_SECONDS = 10.0
"""Records of mere progress are at least this far apart, so that a night's log stays small."""
_PROGRESS = {"StepsProgress", "PiecesProgress"}


class EventLog:
    """Appends one JSON line per record: the event's kind, the wall-clock time and its fields."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._offset = time.time() - time.monotonic()  # of this moment: the clock may be set at any later one
        self._last: dict[str, float] = {}

    def write(self, event: Any) -> None:
        """Append a frozen dataclass; records of mere progress that follow too soon are left out."""
        kind = type(event).__name__
        if kind in _PROGRESS:
            now = time.monotonic()
            if kind in self._last and now - self._last[kind] < PROGRESS_SECONDS:
                return
            self._last[kind] = now
        record = {
            "event": kind,
            "time": round(time.monotonic() + self._offset, 3),
            **dataclasses.asdict(event),
        }
        with suppress(OSError):
            self._file.write((json.dumps(record, separators=(",", ":")) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
