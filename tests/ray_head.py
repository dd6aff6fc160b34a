"""A real Ray head of a test's own: job server, token, loopback, a folder for all it writes."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tilefarm.remote.home import ROOT_VARIABLE, Home
from tilefarm.remote.server import AwayError, JobServer

START_SECONDS = 180.0


@dataclass(frozen=True)
class Head:
    """Where it is, and what it writes."""

    address: str
    folder: Path
    """Short: Ray's sockets are in it."""
    token_file: Path
    home: Home

    @property
    def token(self) -> str:
        return self.token_file.read_text()

    def server(self) -> JobServer:
        return JobServer(self.address, self.token)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def running_head() -> Iterator[Head]:
    """Start a head, wait until its job server answers, and end it with all of its processes."""
    folder = Path(tempfile.mkdtemp(prefix="tf-", dir="/tmp"))
    gcs, dashboard, agent, client = free_ports(4)
    token_file = folder / "token"
    token_file.touch(0o600)
    token_file.write_text(secrets.token_hex(32))
    head = Head(f"http://127.0.0.1:{dashboard}", folder, token_file, Home(folder / "home"))
    here = Path(__file__).resolve().parents[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    environment = kept | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "RAY_agent_register_timeout_ms": "300000",  # on a busy machine the node ends itself otherwise
        "RAY_health_check_timeout_ms": "120000",
        "PYTHONPATH": str(here),
        ROOT_VARIABLE: str(head.home.root),
    }
    ports = {"": gcs, "dashboard-": dashboard, "dashboard-agent-listen-": agent, "ray-client-server-": client}
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=1"]
    command += [f"--{name}port={port}" for name, port in ports.items()]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={folder / 'ray'}"]
    command += ["--object-store-memory=80000000"]
    log = folder / "start.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        _wait(head, process, log)
        yield head
    finally:
        end(process, folder)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(head: Head, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        with suppress(AwayError):
            assert head.server().head
            return
        assert time.monotonic() < limit, f"no head in {START_SECONDS} s: {log.read_text()}"
        time.sleep(0.2)


def end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Kill what has this head's folder in its command line or environment, and no other."""
    ours = [process.pid]
    for other in psutil.process_iter():
        with suppress(psutil.Error):
            if f"{folder}/" in " ".join(other.cmdline()) or _belongs(other, folder):
                ours.append(other.pid)
    processes = []
    for number in ours:
        with suppress(psutil.Error):
            found = psutil.Process(number)
            found.kill()
            processes.append(found)
    psutil.wait_procs(processes, timeout=30)
    process.wait(timeout=30)


def _belongs(process: psutil.Process, folder: Path) -> bool:
    return process.environ().get(ROOT_VARIABLE, "").startswith(f"{folder}/")
