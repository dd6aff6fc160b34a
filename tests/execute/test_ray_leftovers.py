"""What an embedded Ray leaves behind when its driver ends in one way or another: nothing."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tilefarm.execute import session
from tilefarm.execute.guardian import writing_into
from tilefarm.execute.session import PREFIX, Session, remove_stale

SECONDS = 60.0
GONE_SECONDS = 20.0
"""For the guardian's work on a busy machine; Ray's agents alone would stay for more than a minute."""

DRIVER = """
import sys, time
from tilefarm.errors import StoppedError
from tilefarm.execute import cluster
from tilefarm.signals import stopping_on_signals

def busy():
    while True:
        pass

try:
    with stopping_on_signals():
        if sys.argv[1] == "starting":
            print("starting", flush=True)
        cluster.start_local(2, "cpu")
        import ray
        worker = ray.remote(busy)
        running = worker.remote()
        while cluster_is_idle():
            time.sleep(0.01)
        print("running", flush=True)
        if sys.argv[1] == "end":
            cluster.leave()
        else:
            ray.get(running)
except StoppedError as error:
    sys.exit(error.exit_code)
""".replace("while cluster_is_idle():", "while ray.available_resources().get('CPU', 0) == 2:")


def wait_for(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.02)


def shared_memory() -> set[str]:
    folder = Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder for temporary files that is short enough for Ray, and empty at the end."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def driver(base: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a driver that renders for ever on an embedded Ray."""
    processes = []

    def start(how: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, how],
            env=environment | {"TMPDIR": str(base)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("how", "numbers"),
    [
        ("end", []),
        ("running", [signal.SIGTERM]),
        ("running", [signal.SIGINT, signal.SIGTERM]),
        ("running", [signal.SIGKILL]),
        ("starting", [signal.SIGTERM]),
    ],
)
def test_nothing_is_left(
    base: Path, driver: Callable[[str], subprocess.Popen[str]], how: str, numbers: list[int]
) -> None:
    before = shared_memory()
    process = driver(how)
    if how == "starting":
        gcs = lambda: any("gcs" in child.name() for child in family(process))  # noqa: E731
        wait_for(gcs, "Ray's start")
    children = family(process)
    if how == "running":
        (folder,) = base.iterdir()
        assert folder.name.startswith(PREFIX)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert any("raylet" in child.name() for child in children)
    for number in numbers:
        process.send_signal(number)
    begin = time.monotonic()
    process.wait(SECONDS)
    if signal.SIGKILL not in numbers and numbers:
        ends = {128 + number for number in numbers} | {1}  # 1: the script's own traceback
        ends |= {-number for number in numbers[1:]}  # the second came when the first had done its work
        assert process.returncode in ends
        assert time.monotonic() - begin < 3
    assert psutil.wait_procs(children, timeout=GONE_SECONDS)[1] == []
    wait_for(lambda: not list(base.iterdir()), "the folder's end", GONE_SECONDS)
    assert shared_memory() <= before


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


WRITER = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
file = (folder / "log").open(sys.argv[2])
print(flush=True)
time.sleep(60)
"""


def writer(folder: Path, mode: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), mode], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_the_next_start_clears_up_behind_drivers_without_a_guardian(base: Path) -> None:
    """Their guardian was killed too; who merely reads a log is spared, and whoever is alive."""
    stale = base / f"{PREFIX}00000000"
    stale.mkdir(mode=0o700)
    other = base / "other"
    other.mkdir()
    one, reader = writer(stale, "w"), writer(stale, "r")
    living = Session(base)
    try:
        assert one.wait(SECONDS) == -signal.SIGKILL
        assert reader.poll() is None
        assert not stale.exists()
        assert living.ray_folder.parent.is_dir()
        remove_stale(base)
        assert living.ray_folder.parent.is_dir(), "its driver, this process, is alive"
        assert writing_into(living.ray_folder.parent) == []
    finally:
        living.close()
        for process in (one, reader):
            process.kill()
            process.communicate()
    assert list(base.iterdir()) == [other]


def test_sockets_have_room_for_their_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / ("x" * 40)))
    deepest = (
        session._base()
        / f"{PREFIX}12345678/r/session_2026-11-21_22-36-54_349002_4194304/sockets/plasma_store"
    )
    assert len(os.fsencode(deepest)) <= 107
    longest = "/" + "x" * (session._LONGEST_BASE - 1)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: longest)
    assert session._base() == Path(longest)
    assert len(os.fsencode(longest)) + len(os.fsencode(deepest)) - len("/tmp") <= 107
