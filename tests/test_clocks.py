"""Wall clocks that jump, and modification times that lie, between sessions and in their midst."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pieces import PieceMixer
from tests.standins import opener
from tilefarm.driver import render, run_folder
from tilefarm.events import Event, StepTaken, TileFinished
from tilefarm.execute.open import ExecutorChoice
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

JOBS = {
    "feathered": "method: feathered\npyramid: {smallest: 64, iterations: [2]}\n"
    "tiles: {size: 64, rounds: 2}\n",
    "exact": "method: exact\npyramid: {smallest: 64, iterations: [3]}\ntiles: {size: 64}\n"
    "objective: {content_layers: {relu2_2: 1}, style_layers: {relu1_1: 1}}\n",
}
DAY = 86_400.0
JUMPS = {"backwards": -40 * 365 * DAY, "forwards": 60 * 365 * DAY}


class Halt(Exception):  # noqa: N818
    """Ends a session in mid-work."""


def write_job(folder: Path, method: str) -> Path:
    folder.mkdir()
    generator = np.random.default_rng(4)
    for name, size in (("content.png", (96, 128, 3)), ("style.png", (40, 60, 3))):
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(folder / name)
    path = folder / "job.yaml"
    path.write_text(f"content: content.png\nstyle: style.png\noutput: {{path: out.tif}}\n{JOBS[method]}")
    return path


def session(path: Path, halt_at: int | None = None) -> tuple[RunDir, int]:
    """One session up to a finished tile or step; the run, and how many were finished."""
    job = load_job(path)
    run, done = run_folder(job, path.parent / "runs"), 0

    def listen(event: Event) -> None:
        nonlocal done
        if isinstance(event, StepTaken | TileFinished):
            done += 1
            if done == halt_at:
                raise Halt

    with suppress(Halt):
        render(job, run, ExecutorChoice("local"), listen, opener(PieceMixer()))
    return run, done


def numbers(record: object, key: str) -> Iterator[float]:
    """Every number under a key, however deep."""
    if isinstance(record, dict):
        for name, value in record.items():
            if name == key and value is not None:
                yield value
            yield from numbers(value, key)
    elif isinstance(record, list):
        for value in record:
            yield from numbers(value, key)


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS.keys())
@pytest.mark.parametrize("method", JOBS)
def test_a_wall_clock_that_jumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, jump: float
) -> None:
    wanted, usual = session(write_job(tmp_path / "calm", method))
    path = write_job(tmp_path / "wild", method)
    now, offset = time.time, [0.0]
    monkeypatch.setattr("time.time", lambda: now() + offset[0])

    def jumping(event: Event) -> None:
        offset[0] += jump / 50  # with every event of the second session

    _, first = session(path, halt_at=3)
    offset[0] = jump
    for file in tmp_path.rglob("*"):
        os.utime(file, (now() + jump, now() + jump), follow_symlinks=False)
    job = load_job(path)
    run = run_folder(job, path.parent / "runs")
    worker = PieceMixer()
    render(job, run, ExecutorChoice("local"), jumping, opener(worker))
    finest = len(json.loads(run.plan.read_text())["levels"]) - 1
    assert run.canvas(finest).read_bytes() == wanted.canvas(finest).read_bytes()
    lines = [json.loads(line) for line in run.events.read_text().splitlines()]
    steps = [line for line in lines if line["event"] in ("StepTaken", "TileFinished")]
    assert len(steps) == usual  # nothing that was finished was done again
    assert first == 3
    records = [json.loads(run.summary.read_text()), lines]
    records.append([json.loads(line) for line in run.journal.read_text().splitlines()])
    durations = [*numbers(records, "seconds")]
    assert len(durations) > 5
    assert all(0 <= seconds < 600 for seconds in durations)


def test_times_of_events_grow_when_the_clock_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = write_job(tmp_path / "run", "exact"), iter(range(10**6, 0, -7))
    monkeypatch.setattr("time.time", lambda: float(next(now)))
    run, _ = session(path)
    times = [json.loads(line)["time"] for line in run.events.read_text().splitlines()]
    assert len(times) > 10
    assert times == sorted(times)


def test_modification_times_decide_nothing(tmp_path: Path) -> None:
    path = write_job(tmp_path / "run", "feathered")
    run, _ = session(path, halt_at=5)
    for file in sorted(path.parent.rglob("*")):
        os.utime(file, (1, 1))
    assert session(path)[1] > 0
    fresh = run.canvas(1).stat()
    content = bytearray(run.canvas(1).read_bytes())
    content[99] ^= 1  # with the times of the good file
    run.canvas(1).write_bytes(content)
    os.utime(run.canvas(1), ns=(fresh.st_atime_ns, fresh.st_mtime_ns))
    assert session(path)[1] > 0
    assert session(path)[1] == 0
