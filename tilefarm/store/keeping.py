"""Running with a store: asked before, restored from at the start, kept up to date, finished at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tilefarm.errors import JobError, StoppedError
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.address import Address, parse_address
from tilefarm.store.lease import Lease
from tilefarm.store.manifest import set_store_aside
from tilefarm.store.mirror import Mirror, Pace
from tilefarm.store.objects import Store, StoreError
from tilefarm.store.restore import restore

LAST_PATIENCE = 60.0
"""Seconds without any progress after which the last copy of a run that has ended is given up."""
STOPPED_PATIENCE = 20.0
"""The same where a signal ended the run: machines that are taken away give half a minute or two."""


@dataclass(frozen=True)
class Wish:
    """What was typed about a store."""

    address: str
    pace: Pace


@dataclass
class Keeper:
    """Keeps all runs of a command at one address, each below its own name."""

    address: Address
    pace: Pace
    say: Callable[[str], None]
    complete: dict[str, bool] = field(default_factory=dict)
    """By name of a run that has ended in order, whether all of it is there."""
    _left: list[Mirror] = field(default_factory=list)
    _waited: bool = False

    @classmethod
    def at(cls, wish: Wish, say: Callable[[str], None]) -> Keeper:
        """For what was typed. Raises JobError where it is no address, or cannot be written."""
        try:
            address = parse_address(wish.address)
        except ValueError as error:
            raise JobError(f"--store {error}") from None
        Store(address).check("--store")
        return cls(address, wish.pace, say)

    def fresh(self, run: RunDir) -> None:
        """The run begins anew: keep what is there under another name. Raises JobError, StoreError."""
        store = Store(self.address.within(run.name))
        lease = Lease(store)
        lease.take(self._wait)
        try:
            if (name := set_store_aside(store)) is not None:
                self.say(f"what {store.address} held is now {name} there")
        finally:
            lease.release()

    @contextmanager
    def keeping(self, run: RunDir) -> Iterator[None]:
        """Restore the run where the store is further, and keep it there while the block works on it.

        After a signal what is missing is sent by `finish`. Raises StoreBusyError where another driver
        keeps the run there, StoreError where the store fails before the work begins.
        """
        store = Store(self.address.within(run.name))
        lease = Lease(store)
        lease.take(self._wait)
        try:
            restore(store, run, self.say)
            mirror = Mirror(store, run, lease, self.pace, self.say)
            mirror.start()
        except BaseException:
            with suppress(StoreError):
                lease.release()
            raise
        try:
            yield
        except StoppedError:
            self._left.append(mirror)
            raise
        except BaseException:
            mirror.finish(LAST_PATIENCE)
            raise
        self.complete[run.name] = mirror.finish(LAST_PATIENCE)

    def bring(self, run: RunDir) -> None:
        """Restore a run of which there is no folder here. Raises as `keeping` does."""
        store = Store(self.address.within(run.name))
        lease = Lease(store)
        lease.take(self._wait)
        try:
            restore(store, run, self.say)
        finally:
            lease.release()

    def finish(self) -> None:
        """Send what runs that a signal ended have left. A further signal ends it."""
        while self._left:
            self._left.pop().finish(STOPPED_PATIENCE)

    def _wait(self, sentence: str, seconds: float) -> None:
        if sentence and not self._waited:
            self.say(sentence)
            self._waited = True
        time.sleep(seconds)
