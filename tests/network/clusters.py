"""A Ray cluster with token authentication on the machines of a lab, and the program on its first machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.network.lab import DATA, Lab, Machine

ROOT = Path(__file__).parents[2]
TOKEN = "c0ffee" * 10 + "0123"
PORT = 6379
WAIT_SECONDS = 240.0
"""For whatever must happen: a busy machine starts Ray slowly."""
_STORE_BYTES = 150 * 10**6
_PROGRAM = (sys.executable, "-c", "from tilefarm.cli import main; main()")
_RAY = (sys.executable, "-c", "from ray.scripts.scripts import main; main()")


def environment() -> dict[str, str]:
    """Of Ray and the program on a machine: of this process's nothing but where programs are."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV") if name in os.environ}
    ours = {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    patient = {"TILEFARM_PATIENCE": "600"}  # a worker that a busy machine keeps waiting is not hung
    return {**kept, **ours, **patient, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def wait_until(condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """What `condition` returns once that is true. Fails after `seconds`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return found


class Farm:
    """A cluster that grows by a machine at a time. The head has no cores: all work goes over the network."""

    def __init__(self, lab: Lab, logs: Path) -> None:
        """What Ray and the program say goes to files in `logs`."""
        self._lab, self._logs = lab, logs
        self.workers: list[Machine] = []
        """Those that were added, the dead among them."""
        self.head = self._start("head", cores=0)
        self._wait_for("head")

    @property
    def address(self) -> str:
        """Of the cluster."""
        return f"{self.head.address}:{PORT}"

    def add(self, *names: str) -> list[Machine]:
        """More machines, with one core each, once Ray is up on them."""
        machines = [self._start(name, cores=1) for name in names]
        self.workers += machines
        for name in names:
            self._wait_for(name)
        return machines

    def outsider(self, name: str) -> Machine:
        """A machine on the same switch that has the token and is no part of the cluster."""
        machine = self._lab.add(name)
        give_token(machine, TOKEN)
        return machine

    def submit(
        self, job: Path, name: str, machine: Machine | None = None, variables: Mapping[str, str] | None = None
    ) -> Submission:
        """`tilefarm submit` with a job file on the head's disk, or on that of another machine, there.

        `variables` are added to its environment, after HOME has been set to the machine's.
        """
        machine, log = machine or self.head, self._logs / f"{name}.log"
        return Submission(machine, job, ("--address", self.address), variables or {}, log)

    def _start(self, name: str, cores: int) -> Machine:
        machine = self._lab.add(name)
        give_token(machine, TOKEN)
        role = [f"--address={self.address}"] if hasattr(self, "head") else ["--head", f"--port={PORT}"]
        if "--head" in role:
            role += ["--include-dashboard=false", f"--temp-dir={DATA / 'ray'}"]
        machine.start(
            *_RAY,
            "start",
            *role,
            "--block",
            f"--num-cpus={cores}",
            f"--node-ip-address={machine.address}",
            f"--object-store-memory={_STORE_BYTES}",
            "--include-log-monitor=false",
            environment=environment(),
            log=self._logs / f"{name}.log",
        )
        return machine

    def _wait_for(self, name: str) -> None:
        """Until Ray is up there."""
        log = self._logs / f"{name}.log"
        wait_until(lambda: "Ray runtime started" in log.read_text(errors="replace"), f"{name} starts")


def give_token(machine: Machine, token: str) -> None:
    """Where Ray looks for it, readable by its user alone."""
    folder = machine.disk / "home" / ".ray"
    folder.mkdir(mode=0o700)
    descriptor = os.open(folder / "auth_token", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, token.encode())
    os.close(descriptor)


class Submission:
    """`tilefarm submit JOB --address ...` under way on a machine."""

    def __init__(
        self, machine: Machine, job: Path, options: Iterable[str], variables: Mapping[str, str], log: Path
    ) -> None:
        """`job` is a path on the machine's disk, relative to that."""
        self._log, self._folder = log, machine.disk / job.parent
        added = [f"{name}={value}" for name, value in variables.items()]
        words = ("env", *added, *_PROGRAM, "submit", DATA / job, *options)
        self._process = machine.start(*words, environment=environment(), log=log)

    @property
    def said(self) -> str:
        """All that the program printed."""
        return self._log.read_text(errors="replace")

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """The records of these kinds that the driver has written so far."""
        found = []
        for log in self._folder.glob("runs/*/events.jsonl"):
            for line in log.read_text().splitlines(keepends=True):
                if line.endswith("\n") and (record := json.loads(line))["event"] in kinds:
                    found.append(record)
        return found

    def summary(self) -> dict[str, Any]:
        """Its run.json."""
        (path,) = self._folder.glob("runs/*/run.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def wait_for(self, what: str, condition: Callable[[], Any]) -> Any:
        """As `wait_until`, and fails at once where the program ends before."""

        def there() -> Any:
            found = condition()
            assert found or self._process.poll() is None, f"it ended before {what}:\n{self.said}"
            return found

        return wait_until(there, what)

    def end(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for its end; the exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end in {seconds:.0f} s:\n{self.said}") from None
