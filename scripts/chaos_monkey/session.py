"""One driver on a stand-in worker, in a process of its own, and what strikes it there.

The process is forked from one that has everything imported: a session takes as long as its work.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from scripts.chaos_monkey.faults import Strike
from tests.pieces import PieceMixer
from tests.standins import opener
from tilefarm.driver import render, run_folder
from tilefarm.errors import TilefarmError
from tilefarm.events import Event
from tilefarm.execute.open import ExecutorChoice
from tilefarm.signals import stopping_on_signals
from tilefarm.solve.weights import load_weights
from tilefarm.spec.load import load_job

_load_weights = cache(load_weights)
"""Read once, before processes are forked: half of a session's time otherwise."""
LONGEST_SECONDS = 60.0
FAULT_CODE = 70
"""Of an exception that is not the user's: a fault of ours."""
_FILE_EVENTS = {"open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "shutil.rmtree"}


@dataclass(frozen=True)
class Ended:
    """How a session ended."""

    code: int
    """Its exit code; minus the signal's number where one killed it, HUNG for one that did not end."""
    said: str


HUNG = -999


class StandinSessions:
    """Sessions of one job on the stand-in."""

    def __init__(self, job: Path, disk: Path | None) -> None:
        """`disk`: a folder on a disk that may be filled; None: the size of a file is limited instead."""
        self._job = job
        self._disk = disk
        network = load_job(job).network
        _load_weights(network.name, network.weights, network.preprocessing)
        self.log = job.parent / "work.log"
        self.counts = job.parent / "counts.json"
        self.seconds = 0.0

    def run(self, strike: Strike | None) -> Ended:
        """A session from start to end, whatever its end is."""
        with tempfile.TemporaryFile() as said:  # not on the disk that may be full
            begin = time.monotonic()
            code = self._run(strike, said.fileno())
            self.seconds = time.monotonic() - begin
            said.seek(0)
            return Ended(code, said.read().decode(errors="replace"))

    def _run(self, strike: Strike | None, output: int) -> int:
        process = multiprocessing.get_context("fork").Process(target=self._drive, args=(strike, output))
        process.start()
        if strike is not None and strike.when == "time":
            process.join(strike.at)
            if process.is_alive() and process.pid is not None and strike.kind != "full":
                os.kill(process.pid, signal.SIGKILL if strike.kind == "kill" else signal.SIGTERM)
        process.join(LONGEST_SECONDS)
        code = HUNG if process.exitcode is None else process.exitcode
        process.kill()
        process.join()
        self._ballast.unlink(missing_ok=True)
        return code

    @property
    def work(self) -> int:
        """Tiles solved, or passes over pieces, in all sessions so far."""
        return len(self.log.read_bytes().splitlines()) if self.log.exists() else 0

    @property
    def _ballast(self) -> Path:
        return (self._disk or self._job.parent) / "ballast"

    def _drive(self, strike: Strike | None, output: int) -> NoReturn:
        """In the new process."""
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = FAULT_CODE
        try:
            with stopping_on_signals():
                self._render(strike)
            code = 0
        except TilefarmError as error:
            print(error, file=sys.stderr)
            code = error.exit_code
        except BaseException:  # noqa: BLE001 - told to the script, with where it was
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _render(self, strike: Strike | None) -> None:
        job = load_job(self._job)
        run = run_folder(job, self._job.parent / "runs")
        trap = _Trap(strike, str(run.root), self._ballast if self._disk else None)
        sys.addaudithook(trap.hear_file)
        if strike is not None and strike.kind == "full" and strike.when == "time":
            signal.signal(signal.SIGALRM, lambda number, frame: trap.spring())
            signal.setitimer(signal.ITIMER_REAL, max(strike.at, 1e-3))
        worker = PieceMixer(log=self.log)
        with patch("tilefarm.driver.load_weights", _load_weights):
            render(job, run, ExecutorChoice("local"), trap.hear_event, opener(worker))
        signal.setitimer(signal.ITIMER_REAL, 0)
        if strike is None:
            self.counts.write_text(json.dumps({"events": trap.events, "files": trap.files}))


class _Trap:
    """Counts events and file operations, and springs at the one that the strike names."""

    def __init__(self, strike: Strike | None, root: str, ballast: Path | None) -> None:
        self._strike = strike
        self._root = root
        self._ballast = ballast
        self.events = 0
        self.files = 0

    def hear_event(self, event: Event) -> None:
        self.events += 1
        self._look("event", self.events)

    def hear_file(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "mmap.__new__" or (
            name in _FILE_EVENTS and arguments and str(arguments[0]).startswith(self._root)
        ):
            self.files += 1
            self._look("file", self.files)

    def _look(self, what: str, count: int) -> None:
        if self._strike is not None and self._strike.when == what and self._strike.at == count:
            self.spring()

    def spring(self) -> None:
        assert self._strike is not None
        if self._strike.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._strike.kind == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        elif self._ballast is None:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._strike.room, hard))
        else:
            free = os.statvfs(self._ballast.parent)
            size = free.f_bavail * free.f_frsize - self._strike.room
            with self._ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, size))
