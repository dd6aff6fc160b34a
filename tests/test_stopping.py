"""Stopping a run, from its terminal and from others: in time, in words, and with nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from tests import standin_program
from tilefarm.rundir.holder import Holder
from tilefarm.rundir.layout import RunDir, is_locked

SECONDS = 60.0
IN_TIME = 3.0
JOB = """
content: content.png
style: style.png
output: {path: out.tif}
method: feathered
pyramid: {smallest: 64}
tiles: {size: 64, rounds: 2}
"""
Process = subprocess.Popen[str]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.005)


@dataclass
class Bench:
    """A job in a folder, and the processes that work on it."""

    folder: Path
    processes: list[Process] = field(default_factory=list)

    @property
    def run(self) -> RunDir:
        (root,) = (path for path in (self.folder / "runs").iterdir() if ".old-" not in path.name)
        return RunDir(root)

    @property
    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.run.summary.read_text())
        return record

    @property
    def output(self) -> bytes:
        return (self.folder / "out.tif").read_bytes()

    def start(self, *arguments: str | Path, **options: Any) -> Process:
        """The program, which may be held in a tile."""
        program = [sys.executable, "-m", "tests.standin_program", str(self.folder), *map(str, arguments)]
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        streams["preexec_fn"] = lambda: (
            signal.signal(signal.SIGHUP, signal.SIG_DFL) and None
        )  # tests under nohup
        process: Process = subprocess.Popen(
            program, cwd=Path(standin_program.__file__).parents[1], text=True, **(streams | options)
        )
        self.processes.append(process)
        return process

    def held(self, how: str = "hold", arguments: Sequence[str | Path] = (), **options: Any) -> Process:
        """The program rendering the job, in mid-tile."""
        (self.folder / "held").unlink(missing_ok=True)
        (self.folder / how).touch()
        process = self.start("submit", self.folder / "job.yaml", *arguments, **options)
        self.until(process, lambda: (self.folder / "held").exists(), "the tile")
        return process

    def until(self, process: Process, condition: Callable[[], bool], what: str) -> None:
        def reached() -> bool:
            assert condition() or process.poll() is None, process.communicate()
            return condition()

        wait_for(reached, what)

    def release(self) -> None:
        (self.folder / "release").touch()

    def ended(self, process: Process, *codes: int) -> str:
        """What it said on standard error; without codes it must have ended well."""
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode in (codes or (0,)), said
        assert "Traceback" not in said
        return said

    def told(self, *arguments: str | Path, code: int = 0) -> str:
        """Everything that a command said."""
        process = self.start(*arguments, stderr=subprocess.STDOUT)
        out, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == code, out
        assert "Traceback" not in out
        return out


def write_job(folder: Path) -> None:
    generator = np.random.default_rng(4)
    for name, size in (("content.png", (75, 100, 3)), ("style.png", (40, 60, 3))):
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(folder / name)
    (folder / "job.yaml").write_text(JOB)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    write_job(tmp_path)
    made = Bench(tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_job(folder)
    bench = Bench(folder)
    bench.ended(bench.start("submit", folder / "job.yaml"))
    return bench.output


# ---- signals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "numbers"),
    [
        ("hold", [signal.SIGINT]),
        ("hold", [signal.SIGHUP]),
        ("deaf", [signal.SIGTERM]),
        ("deaf", [signal.SIGINT, signal.SIGTERM]),
    ],
)
def test_out_in_time_and_on_to_the_same_picture(
    bench: Bench, undisturbed: bytes, how: str, numbers: list[int]
) -> None:
    """Deaf: the main thread is in compiled code and does not hear of the signal before a minute is over."""
    process = bench.held(how)
    begin = time.monotonic()
    for number in numbers:
        process.send_signal(number)
    said = bench.ended(
        process, *(128 + number for number in numbers)
    )  # the system may deliver the last first
    number = process.returncode - 128
    assert time.monotonic() - begin < (IN_TIME if len(numbers) == 1 else 1.5)
    assert said.count(f"stopped by {signal.Signals(number).name}") == 1
    assert said.splitlines()[-1] == f"resume with: tilefarm resume {bench.run.root}"
    assert (bench.record["status"], bench.record["exit_code"]) == ("interrupted", 128 + number)
    assert not is_locked(bench.run)
    assert bench.told("resume", bench.run.root)
    assert bench.output == undisturbed
    assert not [path for path in bench.folder.rglob(".*") if path.name != ".cache"]


def test_a_run_without_hangup_outlives_its_terminal(bench: Bench, undisturbed: bytes) -> None:
    """As under nohup: SIGHUP is ignored, and nobody reads what is told."""
    process = bench.held(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN) and None)
    assert process.stderr is not None
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    bench.release()
    assert process.wait(SECONDS) == 0
    assert bench.output == undisturbed


def test_streams_that_were_closed_before_the_start(bench: Bench, undisturbed: bytes) -> None:
    """What is told must not go into the first files that are opened: they have the streams' numbers else."""
    process = bench.start(
        "submit", bench.folder / "job.yaml", "--json", preexec_fn=lambda: os.closerange(0, 3), stdout=None
    )
    assert process.wait(SECONDS) == 0
    assert bench.output == undisturbed
    for path in (bench.run.journal, bench.run.events):
        assert all(json.loads(line) for line in path.read_text().splitlines())


# ---- two drivers --------------------------------------------------------------------------------------


def test_a_job_submitted_twice_is_followed_cancelled_and_gone_on_with(
    bench: Bench, undisturbed: bytes
) -> None:
    driver = bench.held()
    run = bench.run
    holder = f"process {driver.pid} on {os.uname().nodename} since 20"
    refused = bench.told("resume", run.root, code=2)
    assert f"error: {run.root} is being worked on by {holder}" in refused
    assert f"tilefarm cancel {run.root}" in refused
    assert "is being worked on" in bench.told("submit", bench.folder / "job.yaml", "--fresh", code=2)

    leaving, staying = (bench.start("submit", bench.folder / "job.yaml") for _ in range(2))
    for follower in (leaving, staying):
        assert follower.stderr is not None
        assert f"{run.root} is rendered by {holder}" in follower.stderr.readline()
        assert "rendering" in follower.stderr.readline(), "what was told before is told again"
    leaving.send_signal(signal.SIGINT)
    assert "goes on without this terminal" in bench.ended(leaving, 130)
    assert driver.poll() is None

    assert (
        bench.told("cancel", run.root) == f"cancelled {run.root}; go on with it: tilefarm resume {run.root}\n"
    )
    assert f"resume with: tilefarm resume {run.root}" in bench.ended(driver, 143)
    bench.ended(staying, 143)
    assert bench.record["status"] == "cancelled"
    assert "not running (cancelled)" in bench.told("cancel", run.root)
    assert f"tilefarm resume {run.root}" in bench.told("status", run.root)
    bench.told("resume", run.root)
    assert bench.output == undisturbed
    assert "not running (done)" in bench.told("cancel", run.root)


def test_who_follows_a_driver_that_is_killed_takes_over(bench: Bench, undisturbed: bytes) -> None:
    driver = bench.held()
    follower = bench.start("submit", bench.folder / "job.yaml")
    assert follower.stderr is not None
    assert "following it" in follower.stderr.readline()
    driver.kill()
    assert "taking over" in bench.ended(follower)
    assert bench.output == undisturbed
    assert bench.record["status"] == "done"


def test_of_two_who_follow_a_driver_that_is_killed_one_takes_over(bench: Bench, undisturbed: bytes) -> None:
    driver = bench.held()
    followers = [bench.start("submit", bench.folder / "job.yaml") for _ in range(2)]
    for follower in followers:
        assert follower.stderr is not None
        assert "following it" in follower.stderr.readline()
    driver.kill()
    said = "".join(bench.ended(follower) for follower in followers)
    assert "taking over" in said
    assert bench.output == undisturbed
    lines = [json.loads(line) for line in bench.run.journal.read_text().splitlines()]
    done = [(line["level"], line["round"], line["tile"]) for line in lines if line["kind"] == "tile"]
    assert len(done) == len({*done}), "no tile was done twice"
    assert [line["kind"] for line in lines].count("exported") == 1


def test_who_follows_to_the_end_ends_like_the_driver(bench: Bench, undisturbed: bytes) -> None:
    driver = bench.held()
    follower = bench.start("submit", bench.folder / "job.yaml")
    assert follower.stderr is not None
    assert "following it" in follower.stderr.readline()
    bench.release()
    said = bench.ended(driver)
    told = bench.ended(follower)
    assert said.splitlines()[-1] == told.splitlines()[-1] == f"wrote {bench.folder / 'out.tif'} (100x75)"
    assert bench.output == undisturbed


def test_who_follows_and_wants_another_file_gets_it(bench: Bench, undisturbed: bytes) -> None:
    """The same pixels, so the same run; but where they are written to is the submitter's own wish."""
    driver = bench.held()
    follower = bench.start("submit", bench.folder / "job.yaml", "--set", "output.path=other.tif")
    assert follower.stderr is not None
    assert "following it" in follower.stderr.readline()
    bench.release()
    bench.ended(driver)
    assert f"wrote {bench.folder / 'other.tif'} (100x75)" in bench.ended(follower)
    assert bench.output == (bench.folder / "other.tif").read_bytes() == undisturbed


def test_cancel_spares_a_process_that_merely_has_the_id(bench: Bench) -> None:
    driver = bench.held()
    bystander = bench.start("version")
    bystander.communicate()
    innocent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        written = Holder.model_validate_json(bench.run.lock.read_text())
        bench.run.lock.write_text(written.model_copy(update={"process": innocent.pid}).model_dump_json())
        assert "cannot be reached from here" in bench.told("cancel", bench.run.root, code=2)
        elsewhere = written.model_copy(update={"host": "far-away"})
        bench.run.lock.write_text(elsewhere.model_dump_json())
        assert "far-away" in bench.told("cancel", bench.run.root, code=2)
        bench.run.lock.write_text("4711")
        assert "does not say who it is" in bench.told("cancel", bench.run.root, code=2)
        assert psutil.pid_exists(innocent.pid)
        assert innocent.poll() is None
        assert driver.poll() is None
    finally:
        innocent.communicate(b"\n")


def test_fresh_keeps_what_was_there(bench: Bench, undisturbed: bytes) -> None:
    job = bench.folder / "job.yaml"
    bench.ended(bench.start("submit", job))
    canvas = bench.run.canvas(1).read_bytes()
    for number in (1, 2):
        aside = f"{bench.run.root}.old-{number}"
        said = bench.ended(bench.start("submit", job, "--fresh"))
        assert f"what was there is now {aside}" in said
        assert "rendering" in said
        assert RunDir(Path(aside)).canvas(1).read_bytes() == canvas
        assert bench.output == undisturbed
    assert "done already" in bench.ended(bench.start("submit", job))
