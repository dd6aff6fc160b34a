"""The lab itself: what its machines share is a switch, and nothing of it outlives the test."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.network.clusters import ROOT, environment, wait_until
from tests.network.lab import DATA, Lab, Machine, why_not

PORT = 7000
MEGABYTE = 10**6
SERVE = f"""
import socket
server = socket.create_server(("", {PORT}))
while True:
    client, _ = server.accept()
    while client.recv(2**16):
        pass
    client.sendall(b"all")
    client.close()
"""
SEND = f"""
import socket, sys, time
begin = time.monotonic()
client = socket.create_connection((sys.argv[1], {PORT}), float(sys.argv[3]))
client.sendall(bytes(int(sys.argv[2])))
client.shutdown(socket.SHUT_WR)
assert client.recv(3) == b"all"
print(time.monotonic() - begin)
"""
LEFT_ALONE = """
import sys
from tests.network.clusters import environment
from tests.network.lab import Lab

with Lab() as lab:
    machine = lab.add("one")
    machine.start("sh", "-c", "setsid sleep 1000 & exec setsid sleep 1000", environment=environment())
    while [process.name() for process in machine.processes()] != ["sleep", "sleep"]:
        pass
    print(*(process.pid for process in machine.processes()), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Machine, Machine]]:
    """Two machines; the first one listens."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Lab() as lab:
        machines = lab.add("first"), lab.add("second")
        machines[0].start(sys.executable, "-c", SERVE, environment=environment())
        wait_until(lambda: sent(machines, 1, 5) is not None, "somebody listens")
        yield machines


def sent(pair: tuple[Machine, Machine], count: int, patience: float) -> float | None:
    """Seconds that so many bytes take from the second machine to the first; None where they do not arrive."""
    done = subprocess.run(
        pair[1].command(sys.executable, "-c", SEND, pair[0].address, count, patience),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return float(done.stdout) if done.returncode == 0 else None


def test_each_machine_has_a_disk_of_its_own(pair: tuple[Machine, Machine], tmp_path: Path) -> None:
    (pair[0].disk / "picture").write_text("mine\n")
    log = tmp_path / "log"
    for machine in pair:
        machine.start("sh", "-c", f"hostname; cat {DATA}/picture", environment=environment(), log=log).wait()
    assert log.read_text().splitlines()[:3] == ["first", "mine", "second"]
    assert "No such file" in log.read_text()
    assert not (DATA / "picture").exists()


def test_bytes_on_the_cable_are_counted(pair: tuple[Machine, Machine]) -> None:
    before = pair[0].traffic()[0]
    assert sent(pair, 3 * MEGABYTE, 20) is not None
    assert 3.0 < (pair[0].traffic()[0] - before) / MEGABYTE < 3.3


def test_a_slow_cable_is_slow(pair: tuple[Machine, Machine]) -> None:
    fast = sent(pair, 2 * MEGABYTE, 20)
    with pair[0].slowed(8):
        slow = sent(pair, 2 * MEGABYTE, 20)
    assert fast is not None
    assert slow is not None
    assert fast < 1.5 < slow  # 16 megabits take 2 s, less the 128 kB that may go at once


def test_nothing_passes_a_cable_that_is_pulled_out(pair: tuple[Machine, Machine]) -> None:
    pair[0].cut()
    assert sent(pair, 1, 0.5) is None
    pair[0].mend()
    assert sent(pair, 1, 20) is not None


def test_nothing_is_left_of_a_test_run_that_is_killed(pair: tuple[Machine, Machine]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEFT_ALONE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        left = [psutil.Process(int(number)) for number in run.stdout.readline().split()]
        family = [*left, *psutil.Process(run.pid).children(recursive=True)]
        run.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert len(left) == 2
    assert not alive
