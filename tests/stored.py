"""A driver on a stand-in that keeps its run at a store: python -m tests.stored JOB KIND ADDRESS [OPTIONS]

--wait-at N: after its Nth event it waits until the store has all that the run has by then.
--kill-at N: at its Nth event it kills itself, as kill -9 would.
--hold-at N FILE: after its Nth event it makes FILE, and waits until that is gone.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faulty import shortened, worker_for
from tests.standins import opener
from tilefarm.driver import render
from tilefarm.events import Event
from tilefarm.execute.open import ExecutorChoice
from tilefarm.rundir.find import run_folder
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.address import parse_address
from tilefarm.spec.load import load_job
from tilefarm.store import lease, mirror
from tilefarm.store.capture import Stale, progress_of
from tilefarm.store.keeping import Keeper, Wish
from tilefarm.store.manifest import Progress, read_newest
from tilefarm.store.mirror import Pace
from tilefarm.store.objects import Store, StoreError

SECONDS = 100.0
POLL = 0.01


@dataclass
class Eventful:
    """A listener that does something at some of the events, counted from 1."""

    run: RunDir
    address: str
    wait_at: int = 0
    kill_at: int = 0
    hold_at: int = 0
    held: Path | None = None
    count: int = 0

    def __call__(self, event: Event) -> None:
        self.count += 1
        if self.count == self.wait_at:
            until(lambda: kept(self.address, self.run) == progress_of(self.run), "the copy")
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.count == self.hold_at and self.held is not None:
            self.held.touch()
            until(lambda: self.held is None or not self.held.exists(), "letting go")


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            if condition():
                return
        except (Stale, StoreError):
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come")
        time.sleep(POLL)


def kept(address: str, run: RunDir) -> Progress | None:
    """How far the copy is."""
    newest = read_newest(Store(parse_address(address).within(run.name)))
    return None if newest is None else newest.progress


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def keep_and_drive(
    path: Path,
    kind: str,
    address: str,
    tell: Callable[[str], None] = say,
    listen: Callable[[RunDir], Callable[[Event], None]] = lambda run: lambda event: None,
) -> RunDir:
    """Bring a job to its end with copies as fast as they can be made."""
    job = load_job(path)
    run = run_folder(job, path.parent / "runs")
    worker = worker_for(kind, path.parent / "solved.log")
    keeper = Keeper.at(Wish(address, Pace(seconds=0.0, rate=1e6)), tell)
    with shortened(), keeper.keeping(run):
        render(job, run, ExecutorChoice("local"), listen(run), opener(worker))
    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("job", type=Path)
    parser.add_argument("kind")
    parser.add_argument("address")
    parser.add_argument("--wait-at", type=int, default=0)
    parser.add_argument("--kill-at", type=int, default=0)
    parser.add_argument("--hold-at", type=int, default=0)
    parser.add_argument("--held", type=Path)
    options = parser.parse_args()
    mirror.PAUSE, mirror.POLL, lease.RENEW_SECONDS = 0.0, POLL, 0.2

    def listen(run: RunDir) -> Eventful:
        at = options.wait_at, options.kill_at, options.hold_at
        return Eventful(run, options.address, *at, options.held)

    keep_and_drive(options.job, options.kind, options.address, listen=listen)


if __name__ == "__main__":
    main()
