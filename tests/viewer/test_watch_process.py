"""The server's process: it is there while it should be, shows the run of the moment, and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.test_stopping import IN_TIME, SECONDS, Bench, Process, bench, undisturbed, wait_for
from tilefarm.rundir.layout import RunDir
from tilefarm.viewer.process import Companion, announcement
from tilefarm.viewer.turn import Turn

__all__ = ["bench", "undisturbed"]
ADDRESS = re.compile(r"watch it at (http://127\.0\.0\.1:(\d+)/([\w-]{32})/)\n")


def announced(process: Process, stream: str) -> tuple[str, int]:
    """The address and its port, from the first line that a process says; the second is the way from afar."""
    lines = getattr(process, stream)
    found = ADDRESS.fullmatch(lines.readline())
    assert found is not None
    port = int(found[2])
    tunnel = lines.readline()
    assert re.fullmatch(rf"from another machine, first: ssh -L {port}:127\.0\.0\.1:{port} \S+@\S+\n", tunnel)
    return found[1], port


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}state.json", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def companions(process: Process) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if any("serve_child" in part for part in child.cmdline())]


def test_watching_a_run_from_before_its_start_to_its_end(bench: Bench) -> None:
    """Across two drivers, of which one is killed."""
    bench.held().kill()
    run = bench.run
    watch = bench.start("watch", run.root)
    address, _ = announced(watch, "stdout")

    def status() -> str:
        return str(httpx.get(f"{address}state.json", timeout=20).json()["status"])

    assert status() == "interrupted"
    driver = bench.held()
    wait_for(lambda: status() == "running", "the run")
    wait_for(lambda: "painting" in httpx.get(f"{address}state.json").text, "the live data")
    tiles = httpx.get(f"{address}state.json").json()["tiles"]
    assert [each["worker"] for each in tiles["in_flight"]] == [1]
    assert httpx.post(f"{address}cancel", headers={"X-Tilefarm": "1"}, timeout=20).status_code == 200
    bench.ended(driver, 143)
    assert status() == "cancelled"
    assert watch.poll() is None
    begin = time.monotonic()
    watch.send_signal(signal.SIGINT)
    bench.ended(watch)
    assert time.monotonic() - begin < IN_TIME
    assert not answers(address)


def test_a_folder_without_a_run_is_waited_for_and_none_is_told(bench: Bench) -> None:
    empty = bench.folder / "runs" / "job-01234567"
    assert "there is no run folder" in bench.told("watch", empty, code=2)
    empty.mkdir(parents=True)
    watch = bench.start("watch", empty)
    address, port = announced(watch, "stdout")
    assert httpx.get(f"{address}state.json", timeout=20).json()["status"] == "waiting"
    assert "cannot be used" in bench.told("watch", empty, "--port", str(port), code=2)
    watch.send_signal(signal.SIGTERM)
    watch.wait(SECONDS)
    assert [*empty.iterdir()] == []


def test_the_page_of_a_submission_ends_with_it(bench: Bench, undisturbed: bytes) -> None:
    process = bench.held(arguments=["--watch"])
    address, _ = announced(process, "stderr")
    (companion,) = companions(process)
    assert httpx.get(f"{address}state.json", timeout=20).json()["status"] == "running"
    token = address.split("/")[-2]
    assert token not in " ".join(companion.cmdline())
    with httpx.Client(timeout=30) as client, client.stream("GET", f"{address}events") as stream:
        lines = stream.iter_lines()
        next(lines)
        bench.release()
        *_, last, end = [line for line in lines if line.startswith(("data: ", "event: end"))][:-1]
    assert end == "event: end"
    assert json.loads(last.removeprefix("data: "))["status"] == "done", "a viewer is told the end"
    bench.ended(process)
    assert not companion.is_running()
    assert bench.output == undisturbed
    for path in bench.run.root.rglob("*"):
        assert path.is_dir() or token.encode() not in path.read_bytes()


def test_no_orphan_is_left(bench: Bench) -> None:
    process = bench.held(arguments=["--watch"])
    address, _ = announced(process, "stderr")
    (companion,) = companions(process)
    assert answers(address)
    begin = time.monotonic()
    process.kill()
    process.wait(SECONDS)
    wait_for(lambda: not companion.is_running() or companion.status() == psutil.STATUS_ZOMBIE, "its end")
    assert time.monotonic() - begin < IN_TIME
    assert not answers(address)


def test_ctrl_c_in_a_terminal_reaches_the_driver_alone(bench: Bench) -> None:
    """The whole foreground group is signalled; the page tells how it ended and goes with the driver."""
    process = bench.held(arguments=["--watch"], start_new_session=True)
    address, _ = announced(process, "stderr")
    (companion,) = companions(process)
    assert os.getpgid(companion.pid) != os.getpgid(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    bench.ended(process, 130)
    assert bench.record["status"] == "interrupted"
    assert not companion.is_running()
    assert not answers(address)


def test_a_companion_shows_one_run_after_the_other(tmp_path: Path) -> None:
    runs = [RunDir(tmp_path / name) for name in ("one-01234567", "two\nlines-01234567")]
    for run in runs:
        run.root.mkdir()
    with Companion() as companion:
        address = companion.show(runs[0])
        assert address is not None
        assert httpx.get(f"{address}state.json", timeout=20).json()["name"] == runs[0].name
        assert companion.show(runs[1], Turn(2, 2)) is None

        def shown() -> bool:
            return bool(httpx.get(f"{address}state.json", timeout=20).json()["name"] == runs[1].name)

        wait_for(shown, "the second run")
        assert httpx.get(f"{address}state.json", timeout=20).json()["turn"] == {"number": 2, "total": 2}
    assert not answers(address)
    assert announcement(address)[0].endswith(address)


def test_a_server_that_does_not_start_is_no_reason_not_to_render(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tilefarm.viewer.process._PROGRAM", "raise SystemExit(1)")
    with Companion() as companion:
        assert companion.show(RunDir(tmp_path)) is None
        assert companion.show(RunDir(tmp_path)) is None
