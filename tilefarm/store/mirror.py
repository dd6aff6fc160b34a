"""A copy of a run at a store, kept up to date by a thread while the driver works.

The driver knows nothing of it: the thread reads the run folder, and what it cannot send it tries again later.
The journal growing is a reason to send after `PAUSE` seconds; the optimizer of the exact method is sent every
`Pace.seconds`, since it is many times the size of the picture.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from tilefarm.rundir.layout import RunDir
from tilefarm.store.blocks import NoRoomError, Sender
from tilefarm.store.capture import Stale, capture
from tilefarm.store.lease import Lease, LeaseLostError
from tilefarm.store.manifest import NOTHING, OBJECTS, Manifest, named_keys, read_manifests, write_manifest
from tilefarm.store.objects import Store, StoreError

PAUSE = 5.0
"""Seconds between two copies at least, and between a copy that came too late and the next try."""
LONGEST_PAUSE = 60.0
"""Seconds between two tries while the store cannot be reached."""
POLL = 0.5
DEFAULT_SECONDS = 600.0
DEFAULT_RATE = 50.0
_MIB = 1 << 20
_STALE_TRIES = 20
_WORTH_SAYING = 2.0
_LAST_JOIN = 2.0


@dataclass(frozen=True)
class Pace:
    """How often, and how fast."""

    seconds: float = DEFAULT_SECONDS
    """Between two copies of an optimizer's state."""
    rate: float = DEFAULT_RATE
    """Most MiB a second."""


class _GivenUp(Exception):  # noqa: N818 - the end of a thread
    """There is no more time."""


class Mirror:
    """The thread. `say` is given a sentence where something changes for the user."""

    def __init__(
        self, store: Store, run: RunDir, lease: Lease, pace: Pace, say: Callable[[str], None]
    ) -> None:
        """The lease is taken already. Raises StoreError."""
        self._store, self._run, self._lease, self._pace, self._say = store, run, lease, pace, say
        there = read_manifests(store)
        self._newest = there[0] if there else Manifest(run=run.name, generation=0, progress=NOTHING, files={})
        self._before = there[1].keys if len(there) > 1 else set()
        self._sender = Sender(store, run, uuid.uuid4().hex[:8], self._between)
        self._sender.learn(self._newest)
        self._ending, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._moved = time.monotonic()
        self._seen: tuple[object, object] = (None, None)
        self._copied = float("-inf")
        self._trouble = False
        self._tries = 0
        self.complete = False
        """Whether everything that the run had at its end is there."""

    def start(self) -> None:
        """Begin. Objects that a killed session has left are removed first. Raises StoreError."""
        useless = set(self._store.keys(OBJECTS)) - named_keys(self._store)
        self._store.remove(sorted(useless))
        self._thread.start()

    def finish(self, patience: float) -> bool:
        """Send what is missing, for as long as it moves within `patience` seconds; whether all is there.

        The lease is given back. What stays behind is said.
        """
        begin = self._moved = time.monotonic()
        self._ending.set()
        said = False
        while self._thread.is_alive() and time.monotonic() - self._moved < patience:
            self._thread.join(POLL / 5)
            if not said and time.monotonic() - begin > _WORTH_SAYING:
                self._say(f"sending what is missing to {self._store.address}")
                said = True
        self._given_up.set()
        self._thread.join(_LAST_JOIN)  # it may be in the middle of a question to the network
        if not self.complete:
            self._say(
                f"not all of {self._run.root} is at {self._store.address}; everything is in the folder, and "
                "the same command sends what is missing"
            )
        return self.complete

    def _work(self) -> None:
        pause: float | None = 0.0
        try:
            while pause is not None:
                pause = self._turn(self._waited(pause))
        except (_GivenUp, StoreError):  # a lease that could not be given back ends by itself
            return
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the run
            self._say(f"copies to {self._store.address} have ended ({type(error).__name__}: {error})")

    def _waited(self, seconds: float) -> bool:
        """After so many seconds, or at once when the run ends: whether it has ended."""
        if not self._ending.is_set():
            return self._ending.wait(seconds)
        if self._given_up.wait(seconds):
            raise _GivenUp
        return True

    def _turn(self, last: bool) -> float | None:
        """Copy what is due, and all that there is when it is the `last`; seconds until the next turn."""
        try:
            self._lease.keep()
            if last or self._is_due():
                self._copy()
        except LeaseLostError as error:
            self._say(str(error))
            return None
        except StoreError as error:
            self._tell(f"{error}; the run goes on, and it is tried again")
            return PAUSE if last else min(LONGEST_PAUSE, max(PAUSE, time.monotonic() - self._moved))
        except (Stale, OSError, NoRoomError) as error:
            self._tries += 1
            if isinstance(error, NoRoomError):
                self._tell(f"the disk of {self._run.root} has no room for copies to be sent from")
            return None if last and self._tries > _STALE_TRIES else POLL if last else PAUSE
        self._tries = 0
        self._tell(None)
        if not last:
            return POLL
        self.complete = True
        self._lease.release()
        return None

    def _is_due(self) -> bool:
        """Whether there is something new that is worth a copy now."""
        if not self._run.exists():
            return False
        journal, optimizer = _signatures(self._run)
        since = time.monotonic() - self._copied
        if journal != self._seen[0]:
            return since > PAUSE
        return optimizer != self._seen[1] and since > self._pace.seconds

    def _copy(self) -> None:
        """Send what is new and name it in a manifest; then remove what only older ones name."""
        seen = _signatures(self._run)
        found = capture(self._run)
        files = self._sender.send(found)
        if files != self._newest.files:
            self._lease.keep()
            generation = self._newest.generation + 1
            manifest = Manifest(
                run=self._run.name, generation=generation, progress=found.progress, files=files
            )
            write_manifest(self._store, manifest)
            last, self._newest = self._newest.keys, manifest
            keep = manifest.keys | last
            useless = (self._before | self._sender.forget(keep)) - keep
            self._before = last
            self._store.remove(sorted(useless))
        self._seen, self._copied = seen, time.monotonic()

    def _between(self, size: int, seconds: float) -> None:
        """After every object: stop, keep the lease, and hold on where it went faster than it may."""
        self._moved = time.monotonic()
        wait = max(0.0, size / (self._pace.rate * _MIB) - seconds)
        if self._given_up.wait(wait):
            raise _GivenUp
        self._lease.keep()

    def _tell(self, trouble: str | None) -> None:
        """Say that something is wrong when it begins, and that it is over."""
        if trouble is not None and not self._trouble:
            self._say(trouble)
        elif trouble is None and self._trouble:
            self._say(f"{self._store.address} is reached again")
        self._trouble = trouble is not None


def _signatures(run: RunDir) -> tuple[object, object]:
    """What changes when the journal grows, and when an optimizer commits."""
    try:
        journal = run.journal.stat().st_size
    except OSError:
        journal = 0
    states = []
    for path in sorted(run.root.glob("optimizer-*/state.json")):
        try:
            stat = path.stat()
        except OSError:
            continue
        states.append((path.parent.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return journal, tuple(states)
