"""What a run's journal and event log say, read on as they grow."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tilefarm.errors import TilefarmError
from tilefarm.foreign import finite_or_none, is_whole_number
from tilefarm.report.console import duration
from tilefarm.rundir.journal import read_line
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.rundir.tail import Tail
from tilefarm.viewer.curves import Curves
from tilefarm.viewer.records import MOST_TEXT

MOST_SAID = 50
_NOT_A_RECORD = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""Another version's, torn, or nobody's."""


class History:
    """Grows with the run, and is read anew where its files were."""

    def __init__(self, run: RunDir) -> None:
        self._journal, self._journal_restarts = Tail(run.journal), 0
        self._events, self._events_restarts = Tail(run.events), 0
        self.state = RunState()
        self.curves = Curves()
        self.said: deque[dict[str, Any]] = deque(maxlen=MOST_SAID)
        self.worker_losses = 0
        self.taken_back: set[tuple[int, int]] = set()
        """Steps of the exact method that were taken back, by level and step."""

    def read_on(self) -> None:
        """Take what was added since the last look into account."""
        self._read_journal()
        self._read_events()

    def _read_journal(self) -> None:
        for line in self._journal.new():
            if self._journal.restarts != self._journal_restarts:  # a new run, or a mended journal
                self._journal_restarts, self.state = self._journal.restarts, RunState()
            with suppress(TilefarmError, ValueError, RecursionError):  # damage, which the next driver mends
                self.state.apply(read_line(line))

    def _read_events(self) -> None:
        for line in self._events.new():
            if self._events.restarts != self._events_restarts:
                self._events_restarts, self.curves = self._events.restarts, Curves()
                self.worker_losses = 0
                self.taken_back.clear()
                self.said.clear()
            with suppress(*_NOT_A_RECORD):
                record = json.loads(line)
                self.curves.take(record)
                self._listen(record)

    def _listen(self, record: Mapping[str, Any]) -> None:
        if record["event"] == "WorkerChanged" and record["change"] in ("lost", "hung"):
            self.worker_losses += 1
        elif record["event"] == "StepTaken" and not record["accepted"] and is_whole_number(record["level"]):
            self.taken_back.add((record["level"], record["iteration"]))
        for text in _sentences(record):
            self.said.append({"time": finite_or_none(record["time"]), "text": str(text)[:MOST_TEXT]})


def _sentences(record: Mapping[str, Any]) -> list[str]:
    """What an event says to people: notes and faults; nothing for the many others."""
    kind = record["event"]
    if kind == "Noted":
        return [record["note"]]
    if kind == "RunStarted":
        return [("resumed" if record["resumed"] else "started"), *record["notes"]]
    if kind == "WorkerChanged":
        why = f": {record['reason']}" if record["reason"] else ""
        return [f"worker {record['worker'] + 1} {_CHANGES[record['change']]}{why}"]
    if kind == "Paused":
        return ["paused"]
    if kind == "Continued":
        return [f"went on after a pause of {duration(record['seconds'])}"]
    return []


_CHANGES = {
    "lost": "is gone and is started again",
    "hung": "was silent for too long and is started again",
    "back": "is back",
    "set aside": "is set aside",
    "fewer": "needed more memory than there was: fewer work at a time from now on",
    "gone": "will not come back",
    "joined": "has joined",
    "refused": "could not join",
}
