"""Following a run that another process renders: its events as they come, and its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tilefarm.errors import TilefarmError
from tilefarm.event_lines import decoded
from tilefarm.events import Event, Listener, RunStarted
from tilefarm.rundir.ending import exit_code_of
from tilefarm.rundir.holder import read_holder
from tilefarm.rundir.layout import RunDir, is_locked
from tilefarm.rundir.summary import read_summary
from tilefarm.rundir.tail import Tail

POLL_SECONDS = 0.3


class EndedError(TilefarmError):
    """The driver that was followed has ended before its run was done; the exit code is that driver's."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def follow(run: RunDir, listen: Listener) -> bool:
    """Hand on what a run's driver tells until it ends; False where it ended without a word: it was killed.

    What it has told since it began comes first. Raises EndedError where it failed or was stopped.
    """
    before = _record(run)
    reader = _EventReader(run.events, _beginning(run))
    for event in reader.since_the_beginning():
        listen(event)
    while is_locked(run):
        for event in reader.new():
            listen(event)
        time.sleep(POLL_SECONDS)
    for event in reader.new():
        listen(event)
    record = _record(run)
    code = exit_code_of(record)
    if code is None or record == before:  # the end that it speaks of is that of another driver, before
        return False
    if code:
        said = record.get("message") or "no reason is on record"
        raise EndedError(f"{run.root} {record.get('status')}: {said}", code)
    return True


def _record(run: RunDir) -> dict[str, Any]:
    try:
        return read_summary(run) or {}
    except TilefarmError:  # damaged: its driver writes it anew
        return {}


def _beginning(run: RunDir) -> float:
    """When the driver took the run, in seconds since 1970: what is older, another one told."""
    holder = read_holder(run.lock)
    try:
        return datetime.fromisoformat(holder.since).timestamp() if holder is not None else 0.0
    except ValueError:
        return 0.0


class _EventReader:
    """Whole lines of an event log that grows; those of other versions are passed over.

    Nothing is handed on before the driver's first event, which says how large the run is.
    """

    def __init__(self, path: Path, begin: float) -> None:
        self._tail = Tail(path)
        self._begin = begin
        self._began = False

    def since_the_beginning(self) -> Iterator[Event]:
        """What the last driver has told so far."""
        told: list[Event] = []
        for event in self.new():
            if isinstance(event, RunStarted):
                told = []
            told.append(event)
        yield from told

    def new(self) -> Iterator[Event]:
        """What was added since the last look."""
        for line in self._tail.new():
            event = decoded(line, self._begin)
            self._began = self._began or isinstance(event, RunStarted)
            if event is not None and self._began:
                yield event
