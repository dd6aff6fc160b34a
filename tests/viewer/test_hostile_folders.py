"""Run folders that somebody wrote to do harm: pages show what can be shown, and nothing ends the server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reported import small_run
from tilefarm.errors import JobError, TilefarmError
from tilefarm.geometry import Box
from tilefarm.rundir import tail
from tilefarm.rundir.holder import Holder
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.viewer.report_source import open_run
from tilefarm.viewer.sources import read_raw
from tilefarm.viewer.watched import Watched

STRANGE: list[Any] = [None, "<b>", -1, 10**300, float("nan"), float("inf"), [], {"a": "<i>"}, [[1]], True]
NOT_JSON = [b"", b"null", b"[" * 100_000, b"\xff\xfe", b"[1e999]", b"[]"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return small_run(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def run(made: RunDir) -> Iterator[RunDir]:
    """A run whose records are put back afterwards."""
    files = (made.summary, made.plan, made.events, made.journal)
    before = {path: path.read_bytes() for path in files}
    yield made
    made.live.unlink(missing_ok=True)
    for path, data in before.items():
        if not path.is_file():
            path.unlink()
        path.write_bytes(data)


def state(run: RunDir) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(Watched(run).state()[1], parse_constant=pytest.fail)
    return record


def opened(run: RunDir) -> None:
    """A report's source, or an error in a sentence."""
    with suppress(TilefarmError):
        assert open_run(run).summary["seconds"] >= 0


def changed(record: Any) -> Iterator[Any]:
    """The record with each of its values, however deep, replaced by every strange one."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield from ({**record, key: other} for other in (*STRANGE, *changed(value)))
    elif isinstance(record, list) and record:
        yield from ([other, *record[1:]] for other in (*STRANGE, *changed(record[0])))


def test_any_value_of_run_json(run: RunDir) -> None:
    for record in changed(json.loads(run.summary.read_bytes())):
        run.summary.write_text(json.dumps(record))
        told = state(run)
        assert all(told[key] is None or isinstance(told[key], str) for key in ("output", "method", "message"))
        opened(run)


def test_any_value_of_the_plan(run: RunDir) -> None:
    for record in changed(json.loads(run.plan.read_bytes())):
        run.plan.write_text(json.dumps(record))
        for level in state(run)["levels"]:
            assert all(isinstance(level[key], int) for key in ("width", "height", "tiles", "rounds"))


def test_any_value_of_live_data(run: RunDir) -> None:
    run.summary.write_text(json.dumps(json.loads(run.summary.read_bytes()) | {"status": "running"}))
    holder = Holder.this_process()
    flight = {"box": [0, 0, 0.5, 0.5], "worker": 1, "iteration": 1, "iterations": 2}
    worker = {"worker": 1, "device": "<b>", "state": "idle", "done": 1, "megapixels": 1.5}
    record = {
        "paused": False,
        "share": 0.5,
        "seconds": 1.0,
        "seconds_left": 1e300,
        "level": 1,
        "pieces": [1, 2],
        "doing": "painting",
        "in_flight": [flight],
        "workers": [worker | {"busy_seconds": 1.0, "rss_bytes": 1}],
        "driver_rss_bytes": 1,
    }
    ours = {"driver": [holder.process, holder.started]}
    with RunLock(run):
        run.live.write_text(json.dumps(record | ours))
        assert state(run)["workers"][0]["device"] == "<b>", "what is sound is shown"
        for each in changed(record):
            run.live.write_text(json.dumps(each | ours))
            told = state(run)
            assert told["share"] is None or 0 <= told["share"] <= 1
        run.live.write_text(json.dumps(record | ours).replace('"megapixels": 1.5', '"megapixels": 1e308'))
        assert isinstance(state(run)["workers"], list)


def test_any_value_of_an_event(run: RunDir) -> None:
    losses = {"total": 3.0, "content": 1.0, "style": 2.0, "tv": 0.0}
    events = (
        {"event": "LevelBegan", "time": 1, "level": 0, "iterations": 9},
        {"event": "StepTaken", "time": 1, "level": 0, "iteration": 1, "accepted": True, "weighted": losses},
        {"event": "StepTaken", "time": 1, "level": 0, "iteration": 1, "accepted": False, "weighted": losses},
        {"event": "LevelSolved", "time": 1, "level": 0, "weighted": [losses]},
        {"event": "Noted", "time": 1, "note": "<b>"},
        {"event": "Continued", "time": 1, "seconds": 1.0},
        {"event": "WorkerChanged", "time": 1, "worker": 0, "change": "lost", "reason": "x"},
        {"event": "RunStarted", "time": 1, "resumed": False, "notes": [], "workers": ["x"]},
    )
    lines = [json.dumps(record) for event in events for record in changed(event)]
    run.events.write_text("".join(f"{line}\n" for line in lines))
    told = state(run)
    assert all(isinstance(point[key], float) for point in told["losses"] for key in losses)
    assert all(isinstance(line["text"], str) for line in told["said"])


@pytest.mark.parametrize("name", ["summary", "plan", "events", "journal"])
def test_what_is_no_record_at_all(run: RunDir, name: str) -> None:
    path: Path = getattr(run, name)
    for data in NOT_JSON:
        path.write_bytes(data + b"\n")
        state(run)
        opened(run)


@pytest.mark.parametrize("name", ["summary", "plan", "events", "journal"])
def test_a_pipe_is_not_waited_for(run: RunDir, name: str) -> None:
    path: Path = getattr(run, name)
    path.unlink()
    os.mkfifo(path)
    assert "is not a file" in state(run)["message"]
    with pytest.raises(JobError, match="is not a file"):
        open_run(run)


def test_a_line_without_end_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "LONGEST", 1000)
    path = tmp_path / "log"
    path.write_bytes(b"one\n" + b"x" * 5000)
    reader = tail.Tail(path)
    assert [*reader.new()] == [b"one"]
    with path.open("ab") as file:
        file.write(b"\ntwo\n")
    assert [*reader.new()] == []
    path.write_bytes(b"a\n")
    assert [*reader.new()] == [b"a"]
    assert reader.restarts == 1


def test_regions_of_a_raw_picture_are_its_pixels_and_a_short_one_is_told(tmp_path: Path) -> None:
    picture = np.arange(7 * 5 * 3, dtype="<f4").reshape(7, 5, 3)
    path = tmp_path / "raw"
    path.write_bytes(b"12345678" + picture.tobytes())
    for box in (Box(0, 0, 5, 7), Box(1, 2, 4, 6), Box(0, 3, 5, 4), Box(4, 6, 5, 7)):
        expected = picture[box.top : box.bottom, box.left : box.right]
        np.testing.assert_array_equal(read_raw(path, 5, box, 8), expected)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TilefarmError, match="ends within"):
        read_raw(path, 5, Box(4, 6, 5, 7), 8)
