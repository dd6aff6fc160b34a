"""Two drivers and one store: the second is refused, and what a dead one holds is free again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import stored
from tests.faulty import write_job
from tests.stored import keep_and_drive, until
from tilefarm.rundir.holder import Holder
from tilefarm.spec.address import parse_address
from tilefarm.store import lease as leases
from tilefarm.store import mirror
from tilefarm.store.lease import Lease, LeaseLostError, StoreBusyError
from tilefarm.store.objects import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(parse_address(f"file://{tmp_path}/store"))


def elsewhere(store: Store, started: str = "7") -> Lease:
    """A lease of a driver on another machine."""
    found = Lease(store)
    holder = Holder(process=1, started=started, host="elsewhere", since="2026-01-01")
    found._record = found._record.model_copy(update={"holder": holder, "place": "another boot"})
    return found


def no_wait(sentence: str, seconds: float) -> None:
    pass


def test_a_lease_that_is_given_back_is_free_at_once(store: Store) -> None:
    first = elsewhere(store)
    first.take(no_wait)
    first.release()
    waited: list[str] = []
    Lease(store).take(lambda sentence, seconds: waited.append(sentence))
    assert not waited


def test_a_holder_that_renews_keeps_it(store: Store) -> None:
    first = elsewhere(store)
    first.take(no_wait)

    def wait(sentence: str, seconds: float) -> None:
        first._write()

    with pytest.raises(StoreBusyError, match="process 1 on elsewhere since"):
        Lease(store).take(wait)
    assert first._read() == first._record


def test_a_holder_that_is_silent_loses_it_and_learns_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.2)
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.05)
    first, second = elsewhere(store), elsewhere(store, "8")
    first.take(no_wait)
    waited: list[float] = []

    def wait(sentence: str, seconds: float) -> None:
        waited.append(seconds)
        time.sleep(seconds)  # the time that is waited for is the file system's own

    second.take(wait)
    assert waited
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.0)
    with pytest.raises(LeaseLostError, match="was taken over by process 1 on elsewhere"):
        first.keep()
    first.release()  # which is not its own any more
    second.keep()


def test_of_two_that_take_an_old_one_at_once_one_gives_way(store: Store) -> None:
    old, first, second = (elsewhere(store, started) for started in "789")
    old.take(no_wait)

    def wait(sentence: str, seconds: float) -> None:
        if not sentence:
            second._write()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "LEASE_SECONDS", -1.0)
        with pytest.raises(StoreBusyError):
            first.take(wait)


def test_a_dead_process_of_this_machine_needs_no_waiting(store: Store) -> None:
    gone = Lease(store)
    process = subprocess.Popen(["true"])
    holder = Holder(process=process.pid, started="1", host=gone._record.holder.host, since="then")
    process.wait()
    gone._record = gone._record.model_copy(update={"holder": holder})
    gone.take(no_wait)
    waited: list[str] = []
    Lease(store).take(lambda sentence, seconds: waited.append(sentence))
    assert not [sentence for sentence in waited if sentence]


def test_a_second_driver_is_refused_while_the_first_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "PAUSE", 0.0)
    address = f"file://{tmp_path}/store"
    one, other = (write_job(tmp_path / name, "feathered") for name in ("one", "other"))
    held = tmp_path / "held"
    options = ["--hold-at", "6", "--held", str(held)]
    root = Path(stored.__file__).parents[1]
    first = subprocess.Popen(
        [sys.executable, "-m", "tests.stored", str(one), "feathered", address, *options],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    try:
        until(held.exists, "the first driver's work")
        with pytest.raises(StoreBusyError, match=f"is being written by process {first.pid}"):
            keep_and_drive(other, "feathered", address)
        assert not (other.parent / "out.tif").exists()
        os.kill(first.pid, signal.SIGKILL)
        first.wait(stored.SECONDS)
        keep_and_drive(other, "feathered", address)  # whose holder is seen to be dead
    finally:
        first.kill()
        first.wait()
    assert (other.parent / "out.tif").exists()
