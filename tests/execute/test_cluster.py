"""Starting, joining and leaving Ray, in processes of their own: some is decided when ray is imported."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tilefarm.errors import ClusterError, StoppedError
from tilefarm.execute import cluster

TIMEOUT_SECONDS = 120.0

EMBEDDED = """
import json, os, pathlib, signal, sys, time
import psutil, tilefarm
signal.signal(signal.SIGTERM, handler := lambda number, frame: None)
from tilefarm.errors import ClusterError
from tilefarm.execute import cluster
from tilefarm.solve.contract import Weights

cluster.start_local(2, "cpu")
facts = {"handler_kept": signal.getsignal(signal.SIGTERM) is handler}
from tilefarm.execute.farm import RayExecutor
from tilefarm.execute.layout import alike
from tilefarm.execute.protocol import WorkerInfo

class Good:
    def info(self):
        return WorkerInfo("cpu", "", None, 1, "float32", os.getpid(), "", tilefarm.__version__, 0, 0)

farm = RayExecutor(lambda weights, device, threads: Good(), Weights({}, "caffe", ""), alike(1, 1, 0))
driver = psutil.Process()
facts["processes"] = {"driver": driver.pid, "worker": farm.workers[0].process}
facts["sockets"] = [
    [process.pid, connection.laddr.ip, connection.laddr.port]
    for process in [driver, *driver.children(recursive=True)]
    for connection in process.net_connections("inet")
    if connection.laddr and not connection.raddr
]
facts["resources"] = cluster.resources()
facts["token"] = [os.environ.get("RAY_AUTH_MODE"), (pathlib.Path.home() / ".ray" / "auth_token").exists()]

def broken(weights, device, threads):
    raise OSError("this worker cannot be made")

begin = time.monotonic()
children = [process for process in driver.children(recursive=True)]
try:
    RayExecutor(broken, Weights({}, "caffe", ""), alike(1, 1, 0))
except ClusterError as error:
    facts["broken"] = [str(error), error.exit_code]
facts["broken_seconds"] = time.monotonic() - begin
gone, alive = psutil.wait_procs(children, timeout=30)
facts["left"] = [process.name() for process in alive]
print(json.dumps(facts))
"""

JOIN = """
import sys
from tilefarm.errors import TilefarmError
from tilefarm.execute.open import ExecutorChoice, open_executor
from tilefarm.solve.contract import Weights

try:
    open_executor(ExecutorChoice("ray", sys.argv[1]), Weights({}, "caffe", ""), "cpu", None, 1)
except TilefarmError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def clean_environment() -> dict[str, str]:
    """Without anything of Ray's that this process may have set."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text.removeprefix("::ffff:"))  # IPv4 seen by a socket for IPv6
    return address.is_loopback


def started(code: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=clean_environment() | more,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen in a process that started Ray and a farm, and then one whose worker cannot be made."""
    process = started(EMBEDDED, HOME=str(tmp_path_factory.mktemp("home")))
    assert process.returncode == 0, process.stderr
    facts: dict[str, Any] = json.loads(process.stdout)
    return facts


def test_embedded_ray_listens_on_loopback_only(embedded: dict[str, Any]) -> None:
    """TCP and UDP, of all of Ray's parts, the driver and a worker."""
    sockets = embedded["sockets"]
    listening = {process for process, _, _ in sockets}
    # the GCS and the raylet, beside these
    assert len(listening) >= 4, sockets
    assert set(embedded["processes"].values()) <= listening
    open_to_others = [socket for socket in sockets if not is_loopback(socket[1])]
    assert not open_to_others


def test_embedded_ray_has_what_it_was_given(embedded: dict[str, Any]) -> None:
    assert embedded["resources"]["CPU"] == 2
    assert embedded["resources"]["object_store_memory"] == cluster.STORE_BYTES


def test_a_worker_that_cannot_be_made_is_a_cluster_error(embedded: dict[str, Any]) -> None:
    message, exit_code = embedded["broken"]
    assert exit_code == 6
    assert message.startswith("a worker did not start: ")
    assert "this worker cannot be made" in message
    assert embedded["broken_seconds"] < 60


def test_nothing_of_ray_is_left_after_a_failed_start(embedded: dict[str, Any]) -> None:
    assert embedded["left"] == []


def test_embedded_ray_asks_for_a_token_and_leaves_none_at_home(embedded: dict[str, Any]) -> None:
    """Ray by itself writes one there, as readable as the umask lets it be."""
    assert embedded["token"] == ["token", False]


def test_sigterm_keeps_its_meaning(embedded: dict[str, Any]) -> None:
    """Ray replaces the handler by one that exits with code 15."""
    assert embedded["handler_kept"]


@pytest.mark.parametrize(
    ("failures", "attempts"), [([TimeoutError("too busy")], 2), ([TimeoutError("too busy")] * 3, 2)]
)
def test_ray_is_started_a_second_time(
    monkeypatch: pytest.MonkeyPatch, failures: list[Exception], attempts: int
) -> None:
    folders: list[Path] = []

    def init(**options: Any) -> None:
        folders.append(Path(options["_temp_dir"]).parent)
        assert all(path.is_dir() == (path == folders[-1]) for path in folders)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(cluster, "_init", init)
    if len(failures) > 1:
        with pytest.raises(ClusterError, match=r"^Ray did not start on this machine \(too busy\); "):
            cluster.start_local(2, "cpu")
    else:
        cluster.start_local(2, "cpu")
        cluster.leave()
    assert len(folders) == attempts
    assert not any(folder.exists() for folder in folders)


def test_a_stop_while_ray_starts_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []

    def init(**options: Any) -> None:
        starts.append(options)
        raise StoppedError("stopped by SIGTERM", 15)

    monkeypatch.setattr(cluster, "_init", init)
    with pytest.raises(StoppedError):
        cluster.start_local(2, "cpu")
    assert len(starts) == 1


def test_nobody_at_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but nobody listens
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        begin = time.monotonic()
        process = started(JOIN, address)
        seconds = time.monotonic() - begin
    assert process.returncode == 6
    assert process.stdout.startswith(f"no Ray cluster answers at {address} (")
    assert "ray start --head" in process.stdout
    assert seconds < 30  # Ray alone would try for a quarter of an hour


def test_an_address_without_a_port_is_left_to_ray() -> None:
    cluster._knock("auto")
    cluster._knock("local")


def test_knocking_on_an_open_door() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        cluster._knock(f"127.0.0.1:{port}")
        cluster._knock(f"ray://127.0.0.1:{port}")
