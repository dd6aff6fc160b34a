"""Resting while somebody asks for it, and time that does not count meanwhile.

A file in the run folder asks; the driver looks for it between two pieces of work, when nothing is under way.
"""

from __future__ import annotations

import time

from tilefarm.events import Continued, Listener, Paused
from tilefarm.files import sync_folder
from tilefarm.rundir.layout import RunDir

LOOK_SECONDS = 0.2


class Pauses:
    """A driver's side of `tilefarm pause`."""

    def __init__(self, run: RunDir | None = None, listen: Listener = lambda event: None) -> None:
        """Without a run nobody can ask."""
        self._run = run
        self._listen = listen
        self._rested = 0.0

    def worked(self) -> float:
        """Seconds of the monotonic clock without those of pauses."""
        return time.monotonic() - self._rested

    def asked(self) -> bool:
        """Whether the work shall rest."""
        return self._run is not None and self._run.pause.exists()

    def rest(self) -> None:
        """Return when the work may go on, mostly at once. To be called while nothing is under way."""
        if self._run is None or not self.asked():
            return
        begin = time.monotonic()
        self._listen(Paused(str(self._run.root)))
        while self.asked():
            time.sleep(LOOK_SECONDS)
        seconds = time.monotonic() - begin
        self._rested += seconds
        self._listen(Continued(seconds))


def ask(run: RunDir) -> None:
    """Have the driver of a run rest, durably."""
    run.pause.touch()
    sync_folder(run.root)


def withdraw(run: RunDir) -> bool:
    """Have it go on; whether it was asked to rest."""
    there = run.pause.exists()
    run.pause.unlink(missing_ok=True)
    if there:
        sync_folder(run.root)
    return there
