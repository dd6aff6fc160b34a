"""events.jsonl: what happened, for plots and for people.

Nothing depends on it: a record that does not fit on the disk any more is left out.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

PROGRESS_SECONDS = 10.0
"""Records of mere progress are at least this far apart, so that a night's log stays small."""
_PROGRESS = {"StepsProgress", "PiecesProgress"}


class EventLog:
    """Appends one JSON line per record: the event's kind, the wall-clock time and its fields."""

    def __init__(self, path: Path, about: Mapping[str, str] | None = None) -> None:
        """`about`: fields that every record gets."""
        self._about = dict(about or {})
        self._file = path.open("ab", buffering=0)
        self._torn = _ends_torn(path)
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
            **self._about,
            **dataclasses.asdict(event),
        }
        data = (json.dumps(record, separators=(",", ":")) + "\n").encode()
        if self._torn:
            data = b"\n" + data
        with suppress(OSError):
            self._torn = self._file.write(data) != len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ends_torn(path: Path) -> bool:
    """Whether the last record was cut off, by a kill or a full disk: the next one needs a line of its own."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
