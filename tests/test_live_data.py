"""live.json while a driver works: seldom written, small, and gone in the end."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faulty import write_job
from tests.standins import Mixer
from tests.test_stopping import wait_for
from tilefarm import live
from tilefarm.events import (
    Continued,
    LevelBegan,
    Paused,
    RunStarted,
    StepsProgress,
    WorkerChanged,
    WorkGiven,
    WorkReturned,
)
from tilefarm.geometry import Box, Size
from tilefarm.live import LiveData, fractions
from tilefarm.prepare import prepare
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

STARTED = RunStarted("gate", "runs/gate", Size(100, 75), (100, 300), ("cpu",), "float32", False)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    found = RunDir(tmp_path / "run")
    found.root.mkdir()
    return found


@pytest.fixture
def data(tmp_path: Path, run: RunDir) -> Iterator[LiveData]:
    """Of a level in 20 tiles with three workers: here, elsewhere, and one whose id is nobody's."""
    made = LiveData(run, seconds_before=1000.0)
    here = replace(Mixer().info(), process=os.getpid(), node=platform.node())
    elsewhere, nobody = replace(here, node="far-away"), replace(here, process=2**22 + 1)
    made.begin(prepare(load_job(write_job(tmp_path, "feathered"))).plan, [here, elsewhere, nobody])
    made(STARTED)
    made(LevelBegan(1, Size(100, 75), 20, 2, 2))
    yield made
    made.close()


def record(data: LiveData) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(data._record(time.monotonic())))
    return found


def test_what_is_in_hand_where_and_how_far(data: LiveData) -> None:
    for worker, tile in ((0, 3), (1, 9), (0, 4)):
        data.take_work(WorkGiven(worker, "tiles", (tile,)))
    data(StepsProgress(1, 0, 3, 1, 2, 5.0))
    found = record(data)
    assert [(each["worker"], each["iteration"]) for each in found["in_flight"]] == [(1, 1), (2, None)]
    assert all(0 <= end <= 1 for each in found["in_flight"] for end in each["box"])
    assert [worker["state"] for worker in found["workers"]] == ["working", "working", "idle"]
    data.take_work(WorkReturned(0, "tiles", (3,), 2_500_000))
    data.take_work(WorkReturned(1, "tiles", (9,), 0))
    found = record(data)
    assert [worker["done"] for worker in found["workers"]] == [1, 0, 0]
    assert [worker["megapixels"] for worker in found["workers"]] == [2.5, 0.0, 0.0]
    assert [worker["state"] for worker in found["workers"]] == ["working", "idle", "idle"]
    assert [each["worker"] for each in found["in_flight"]] == [1], "the tile that waited in line"


def test_memory_is_told_where_it_can_be_seen_and_never_made_up(data: LiveData) -> None:
    here, elsewhere, nobody = (worker["rss_bytes"] for worker in record(data)["workers"])
    assert here == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert (elsewhere, nobody) == (None, None)
    data(WorkerChanged(0, "lost", "because", 2))
    lost = record(data)["workers"][0]
    assert (lost["state"], lost["rss_bytes"]) == ("lost", None)
    data(WorkerChanged(0, "back", "", 3, os.getpid()))
    assert record(data)["workers"][0]["rss_bytes"] is not None
    data(WorkerChanged(1, "set aside", "it failed", 2))
    assert record(data)["workers"][1]["state"] == "set aside"


def test_the_time_of_a_pause_is_no_time_of_work(data: LiveData, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    clock = type("Clock", (), {"monotonic": lambda self: now, "time": lambda self: 0.0})()
    monkeypatch.setattr(live, "time", clock)
    before = data._record(now)["seconds"]
    assert before >= 1000
    data(Paused("run"))
    now += 500
    assert data._record(now)["paused"]
    assert data._record(now)["seconds"] == before
    data(Continued(500.0))
    now += 7
    assert data._record(now)["seconds"] == pytest.approx(before + 7)
    assert not data._record(now)["paused"]


def test_it_is_written_once_a_second_and_only_when_there_is_news(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events write nothing; the thread looks once a second."""
    assert live.WRITE_SECONDS == 1.0
    monkeypatch.setattr(live, "WRITE_SECONDS", 1e6)
    data = LiveData(run)
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(data._file, "write", written.append)
    data._write()
    data._write()
    assert len(written) == 1
    for _ in range(100):
        data(STARTED)
    assert len(written) == 1
    data._write()
    data._write()
    assert len(written) == 2
    data.close()


def test_it_is_gone_with_its_driver(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WRITE_SECONDS", 0.01)
    threads = threading.active_count()
    data = LiveData(run)
    wait_for(run.live.exists, "the file")
    data.close()
    assert [*run.root.iterdir()] == []
    assert threading.active_count() == threads


def test_a_folder_that_is_gone_stops_nothing(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WRITE_SECONDS", 0.01)
    data = LiveData(run)
    wait_for(run.live.exists, "the file")
    run.live.unlink()
    for path in run.root.iterdir():
        path.unlink(missing_ok=True)
    data._file._path = data._file._temporary = run.root / "no" / "folder"
    data(STARTED)
    wait_for(lambda: not data._changed, "the try")
    data.close()


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 60), st.integers(1, 60))
def test_boxes_are_parts_of_the_picture(left: int, top: int, width: int, height: int) -> None:
    box = fractions(Box(left, top, left + width, top + height), Size(40, 20))
    assert all(0 <= end <= 1 for end in box)
    assert box[0] <= box[2]
    assert box[1] <= box[3]
    if left >= 0 and left + width <= 40:
        assert box[2] - box[0] == pytest.approx(width / 40)
