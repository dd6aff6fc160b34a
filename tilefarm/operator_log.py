"""One log of many runs, for a collector that follows one file."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilefarm.errors import JobError
from tilefarm.events import Event, Listener
from tilefarm.rundir.event_log import EventLog
from tilefarm.rundir.layout import RunDir

VARIABLE = "TILEFARM_LOG"


@dataclass(frozen=True)
class RunEnded:
    """What became of a run, in this log alone."""

    status: str
    exit_code: int | None
    """None where its driver did not come to say."""
    message: str | None


class OperatorLog:
    """Appends the events of runs to a file, each with its run and this machine."""

    def __init__(self, path: Path | None) -> None:
        """None for no log, unless TILEFARM_LOG names one. Raises JobError where it cannot be written."""
        named = os.environ.get(VARIABLE)
        self._path = path or (Path(named) if named else None)
        self._told: set[Path] = set()
        """Roots of runs that this process told of: others that were followed are others' to speak of."""
        if self._path is None:
            return
        try:
            self._path.open("ab").close()
        except OSError as error:
            source = "--log" if path else VARIABLE
            raise JobError(
                f"{source} names {self._path}, which cannot be written ({error.strerror}); name a file in a "
                "folder that exists"
            ) from None

    @contextmanager
    def beside(self, run: RunDir, listen: Listener) -> Iterator[Listener]:
        """A listener that hands on to `listen` and writes too."""
        if self._path is None:
            yield listen
            return
        with EventLog(self._path, _about(run)) as log:

            def both(event: Event) -> None:
                self._told.add(run.root)
                log.write(event)
                listen(event)

            yield both

    def ended(self, run: RunDir, record: Mapping[str, Any]) -> None:
        """Write down a run's end, as run.json has it."""
        if self._path is not None and run.root in self._told:
            with EventLog(self._path, _about(run)) as log:
                log.write(RunEnded(record["status"], record.get("exit_code"), record.get("message")))


def _about(run: RunDir) -> dict[str, str]:
    return {"run": str(run.root), "host": platform.node()}
