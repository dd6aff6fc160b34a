"""live.json: how a run stands at this moment, for displays in other processes.

Nothing depends on it, and it is no record: it is replaced without waiting for the disk, left out where it
cannot be written, and removed when its driver ends.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from tilefarm.rundir.holder import read_holder
from tilefarm.rundir.layout import RunDir

FACTS = (
    "time",
    "share",
    "seconds",
    "seconds_left",
    "level",
    "round",
    "rounds",
    "iteration",
    "iterations",
    "doing",
    "workers",
    "driver_rss_bytes",
)


class LiveFile:
    """The file of one driver, which holds the run's lock."""

    def __init__(self, run: RunDir) -> None:
        self._path = run.live
        self._temporary = run.root / ".live.json.part"  # hidden: cleared away behind a killed driver

    def write(self, record: dict[str, Any]) -> None:
        """Replace it at once: a reader sees the one before or this one, and never half of it."""
        data = json.dumps(record, separators=(",", ":")).encode()
        with suppress(OSError):
            descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                written = os.write(descriptor, data)
            finally:
                os.close(descriptor)
            if written == len(data):
                self._temporary.replace(self._path)

    def remove(self) -> None:
        """There is no driver any more."""
        for path in (self._temporary, self._path):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def read_live(run: RunDir) -> dict[str, Any]:
    """What the driver that holds the lock has said last; empty where it said nothing that is understood."""
    record = _read(run.live)
    holder = read_holder(run.lock)
    if holder is None or record.get("driver") != [holder.process, holder.started]:
        return {}  # of one that was killed
    return record


def live_facts(run: RunDir) -> dict[str, Any] | None:
    """What scripts are told of a run at work; None where its driver has said nothing yet."""
    record = read_live(run)
    return {name: record.get(name) for name in FACTS} if record else None


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
