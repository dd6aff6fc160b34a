"""One driver at a store: an object that names who writes there, and is renewed while they do.

A lease that was not renewed for `LEASE_SECONDS` is given up. Its age is told by the store's own times, so
that no clock here matters. It is no lock: two drivers that take an old lease in the same second could both
believe for a moment that it is theirs. Each looks again before it writes, so one of them stops; what both
wrote is at worst found damaged when it is restored, and made again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tilefarm.errors import JobError
from tilefarm.rundir.holder import Holder
from tilefarm.store.objects import Store, StoreError

LEASE_SECONDS = 60.0
RENEW_SECONDS = 15.0
LOOK_SECONDS = 2.0
"""Between two looks at a lease that may be given up."""
SETTLE_SECONDS = 1.0
"""After taking an old lease, until it is looked at again."""
_NAME, _PROBE = "lease.json", "lease.probe"


class StoreBusyError(JobError):
    """Another driver writes to the store at this moment."""


class LeaseLostError(StoreError):
    """Another driver has taken the store while this one was silent."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    holder: Holder
    place: str = ""
    """Where the holder's process id means something."""

    beat: int = 0
    """Counts the renewals."""

    @property
    def is_gone(self) -> bool:
        """Whether the holder is known to have ended: it was a process beside this one, or this one before."""
        if not self.place or self.place != _place():
            return False
        return self.holder.is_this_process or not self.holder.is_alive


class Lease:
    """Held by one driver. Only one thread may use it at a time."""

    def __init__(self, store: Store) -> None:
        """Take no lease yet: see `take`."""
        self._store = store
        self._record = _Record(id=uuid.uuid4().hex, holder=Holder.this_process(), place=_place())
        self._renewed = 0.0

    def take(self, wait: Callable[[str, float], None]) -> None:
        """Take it; where another driver held it, after the time in which that would have renewed it.

        `wait` is called with a sentence and seconds to sleep. Raises StoreBusyError where somebody holds it,
        StoreError.
        """
        there = self._read()
        last: _Record | None = None
        while there is not None and not there.is_gone:
            age = self._store.age(_NAME, f"{_PROBE}-{self._record.id[:8]}")
            if age is None or age > LEASE_SECONDS:
                break
            if last is not None and there != last:
                raise StoreBusyError(_BUSY.format(holder=there.holder, address=self._store.address))
            last = there
            wait(
                f"{self._store.address} was written by {there.holder} {age:.0f} s ago: waiting up to "
                f"{LEASE_SECONDS:.0f} s to see whether that is still at work",
                min(LOOK_SECONDS, LEASE_SECONDS - age + 0.1),
            )
            there = self._read()
        self._write()
        if there is not None:  # somebody else may have waited for the same moment
            wait("", SETTLE_SECONDS)
        now = self._read()
        if now is None or now.id != self._record.id:
            holder = "another driver" if now is None else now.holder
            raise StoreBusyError(_BUSY.format(holder=holder, address=self._store.address))

    def keep(self) -> None:
        """Renew it where that is due. Raises LeaseLostError where it is another's now, StoreError."""
        if time.monotonic() - self._renewed < RENEW_SECONDS:
            return
        there = self._read()
        if there is not None and there.id != self._record.id:
            raise LeaseLostError(
                f"{self._store.address} was taken over by {there.holder}; this run keeps nothing more there"
            )
        self._write()

    def release(self) -> None:
        """Give it back at once, if it is still ours. Raises StoreError."""
        there = self._read()
        if there is not None and there.id == self._record.id:
            self._store.remove([_NAME])

    def _read(self) -> _Record | None:
        data = self._store.read(_NAME)
        try:
            return None if data is None else _Record.model_validate_json(data)
        except ValidationError:
            return None

    def _write(self) -> None:
        self._record = self._record.model_copy(update={"beat": self._record.beat + 1})
        self._store.write(_NAME, self._record.model_dump_json().encode())
        self._renewed = time.monotonic()


_BUSY = (
    "{address} is being written by {holder}; stop that one, or choose another --store: two drivers must not "
    "write one run"
)


def _place() -> str:
    """What tells this system's process ids from those of other machines, boots and containers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return ""
