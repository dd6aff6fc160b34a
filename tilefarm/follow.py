"""Following a run that another process renders: its events as they come, and its end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from tilefarm.errors import StoppedError, TilefarmError
from tilefarm.events import Event, Listener
from tilefarm.rundir.ending import exit_code_of
from tilefarm.rundir.holder import read_holder
from tilefarm.rundir.layout import RunDir, is_locked
from tilefarm.rundir.summary import read_summary

POLL_SECONDS = 0.3
_KINDS: dict[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in get_args(Event)}
_BEGIN = "RunStarted"


def follow(run: RunDir, listen: Listener) -> bool:
    """Hand on what a run's driver tells until it ends; False where it was killed: the run can be taken over.

    What it has told since it began comes first. Raises the run's failure, StoppedError where it was stopped.
    """
    reader = _EventReader(run.events, _beginning(run))
    for event in reader.since_the_beginning():
        listen(event)
    while is_locked(run):
        for event in reader.new():
            listen(event)
        time.sleep(POLL_SECONDS)
    for event in reader.new():
        listen(event)
    code = exit_code_of(run)
    if code:
        raise _ended(run, code)
    return code == 0


def _beginning(run: RunDir) -> float:
    """When the driver took the run, in seconds since 1970: what is older, another one told."""
    holder = read_holder(run.lock)
    try:
        return datetime.fromisoformat(holder.since).timestamp() if holder is not None else 0.0
    except ValueError:
        return 0.0


def _ended(run: RunDir, code: int) -> TilefarmError:
    record = read_summary(run) or {}
    message = f"{run.root} {record.get('status')}: {record.get('message') or 'no reason is on record'}"
    if code > 128:
        return StoppedError(message, code - 128)
    error = TilefarmError(message)
    error.exit_code = code
    return error


class _EventReader:
    """Whole lines of an event log that grows; those of other versions are passed over."""

    def __init__(self, path: Path, begin: float) -> None:
        self._path = path
        self._begin = begin
        self._position = 0

    def since_the_beginning(self) -> Iterator[Event]:
        """What the last driver has told so far."""
        told: list[Event] = []
        for event in self.new():
            if type(event).__name__ == _BEGIN:
                told = []
            told.append(event)
        yield from told

    def new(self) -> Iterator[Event]:
        """What was added since the last look."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                for line in file:
                    if not line.endswith(b"\n"):
                        return  # it is being written
                    self._position += len(line)
                    event = _decoded(line, self._begin)
                    if event is not None:
                        yield event
        except FileNotFoundError:
            return


def _decoded(line: bytes, begin: float) -> Event | None:
    try:
        record = json.loads(line)
        if record["time"] < begin:
            return None
        event: Event = _KINDS[record.pop("event")].validate_python(record)
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return None
    return event
