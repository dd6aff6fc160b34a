"""The program itself, with Ray and the real network, as processes of their own."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from scripts.chaos_monkey.faults import Strike
from tilefarm.execute.patience import VARIABLE

LONGEST_SECONDS = 400.0
PATIENCE_SECONDS = 20.0
"""After which a stopped worker counts as hung: long enough for a busy machine, which loads a network."""
HUNG = -999
_PROGRAM = "from tilefarm.cli import main; main()"
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Ended:
    """How the program ended."""

    code: int
    said: str


class RealSessions:
    """Submits a job, and submits it again."""

    def __init__(self, job: Path) -> None:
        self._job = job
        self._errors = job.parent / "said.txt"
        self.runs = job.parent / "runs"
        self.seconds = 0.0

    def run(self, strike: Strike | None) -> Ended:
        """The program from start to end. A strike's clock starts with the run's journal."""
        with self._errors.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, "submit", self._job],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, VARIABLE: str(PATIENCE_SECONDS)},
            )
        children: list[psutil.Process] = []
        end = time.monotonic() + LONGEST_SECONDS
        before = self._lines
        struck = strike is None
        began: float | None = None
        while process.poll() is None and time.monotonic() < end:
            if began is None and self._lines > before:
                began = time.monotonic()
            if not struck and strike and began is not None and time.monotonic() - began >= strike.at:
                children = psutil.Process(process.pid).children(recursive=True)
                _strike(strike, process.pid, children)
                struck = True
            time.sleep(_POLL_SECONDS)
        self.seconds = 0.0 if began is None else time.monotonic() - began
        code = process.poll()
        process.kill()
        process.wait()
        for child in children:  # that a killed driver left behind: Ray's own end within seconds
            with contextlib.suppress(psutil.Error):
                child.wait(30)
        said = self._errors.read_text(encoding="utf-8", errors="replace")
        return Ended(HUNG if code is None else code, said)

    @property
    def work(self) -> int:
        """Tiles and rounds on record."""
        return self._lines

    @property
    def _lines(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in self.runs.glob("*/journal.jsonl"))


def _strike(strike: Strike, driver: int, children: list[psutil.Process]) -> None:
    workers = []
    for child in children:
        with contextlib.suppress(psutil.Error):
            if "Actor" in child.name():
                workers.append(child.pid)
    with contextlib.suppress(ProcessLookupError):
        if strike.kind == "kill":
            os.kill(driver, signal.SIGKILL)
        elif strike.kind == "term":
            os.kill(driver, signal.SIGTERM)
        elif strike.kind == "full":
            _, hard = resource.prlimit(driver, resource.RLIMIT_FSIZE)
            resource.prlimit(driver, resource.RLIMIT_FSIZE, (strike.room, hard))
        elif workers:
            os.kill(workers[0], signal.SIGKILL if strike.kind == "worker" else signal.SIGSTOP)
