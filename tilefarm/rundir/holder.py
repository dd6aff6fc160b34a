"""Who holds the lock of a run: enough to tell people, and to stop that process and no other."""

from __future__ import annotations

import os
import platform
import signal
from datetime import datetime
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

_PROCESSES = Path("/proc")
_START_FIELD = 22
"""Of /proc/PID/stat, counted from 1: when the process started, in clock ticks since the system did."""


class Holder(BaseModel):
    """What a driver writes into the lock file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    process: int
    started: str
    """Tells the process from a later one with the same id."""
    host: str
    since: str
    """Date and time of day, for people."""

    @classmethod
    def this_process(cls) -> Holder:
        """For the lock that is taken now."""
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        pid = os.getpid()
        return cls(process=pid, started=_start_of(pid) or "", host=platform.node(), since=now)

    @property
    def is_this_process(self) -> bool:
        """Whether this very process wrote it, now or for a lock that it has given back."""
        return (self.process, self.host) == (os.getpid(), platform.node()) and self.started == (
            _start_of(self.process) or ""
        )

    @property
    def is_alive(self) -> bool:
        """Whether that process is still at work, where its id is one of this system's."""
        return bool(self.started) and _start_of(self.process) == self.started

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since}"


def read_holder(lock: Path) -> Holder | None:
    """What the lock file says; None where it says nothing that is understood (another version's)."""
    try:
        return Holder.model_validate_json(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        return None


def terminate(holder: Holder) -> bool:
    """Send SIGTERM to the holder; False where it is not a process that this one can see any more.

    Raises PermissionError for another user's.
    """
    if holder.host != platform.node():
        return False
    descriptor = _open_process(holder.process)
    try:
        if not holder.started or _start_of(holder.process) != holder.started:
            return False
        if descriptor is None:
            os.kill(holder.process, signal.SIGTERM)
        else:  # which cannot become another process between the look and the signal
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except ProcessLookupError:
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def _open_process(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):  # no such process, a kernel before 5.3, or not Linux
        return None


def _start_of(pid: int) -> str | None:
    """When a process started, in words that stay the same when the clock is set; None where there is none."""
    if (_PROCESSES / "self" / "stat").exists():
        try:
            text = (_PROCESSES / f"{pid}" / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        return text.rpartition(")")[2].split()[_START_FIELD - 3]  # the name before may hold anything
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
