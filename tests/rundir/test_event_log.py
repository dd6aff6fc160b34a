"""events.jsonl: every event one line of JSON, step records now and then."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tilefarm.events import PiecesProgress, RunStarted, StepsProgress, StepTaken, TileFinished
from tilefarm.geometry import Size
from tilefarm.rundir import event_log
from tilefarm.rundir.event_log import EventLog
from tilefarm.solve.contract import Losses


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(event_log, "time", SimpleNamespace(monotonic=clock.monotonic, time=clock.time))
    return clock


def step(iteration: int) -> StepsProgress:
    return StepsProgress(level=0, round=0, tile=0, iteration=iteration, iterations=30, loss=1.5)


def finished(tile: int) -> TileFinished:
    losses = Losses(total=3.0, content=1.0, style=2.0, tv=0.0)
    return TileFinished(
        level=1,
        round=2,
        tile=tile,
        done=4,
        total=9,
        first=losses,
        last=losses,
        weighted=losses,
        iterations=30,
        rollbacks=0,
        seconds=1.25,
        attempts=1,
    )


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_names_its_event_the_time_and_every_field(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log.write(RunStarted("gate", "/runs/gate", Size(6, 4), (10, 20), ("cpu",), "float32", False))
        clock.now = 2.5
        log.write(finished(3))
        assert len(records(path)) == 2, "people follow the file while the run goes on"
    started, tile = records(path)
    assert started["event"] == "RunStarted"
    assert started["output"] == {"width": 6, "height": 4}
    assert tile["time"] - started["time"] == 2.5
    assert tile["last"] == {"total": 3.0, "content": 1.0, "style": 2.0, "tv": 0.0}
    assert (tile["level"], tile["round"], tile["tile"], tile["seconds"]) == (1, 2, 3, 1.25)


def test_steps_are_kept_at_most_once_in_ten_seconds_and_tiles_always(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        for half_second in range(60):
            clock.now = half_second / 2
            log.write(step(half_second))
            log.write(finished(half_second))
    found = records(path)
    assert [one["iteration"] for one in found if one["event"] == "StepsProgress"] == [0, 20, 40]
    assert [one["tile"] for one in found if one["event"] == "TileFinished"] == list(range(60))


def test_every_step_of_the_exact_method_is_kept_and_few_of_its_pieces(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "events.jsonl"
    losses = Losses(total=3.0, content=1.0, style=2.0, tv=0.0)
    with EventLog(path) as log:
        for second in range(12):
            clock.now = float(second)
            log.write(PiecesProgress(0, "evaluating", second, 12))
            log.write(StepTaken(0, second, 12, True, losses, losses, 1.0))
    found = records(path)
    assert [one["iteration"] for one in found if one["event"] == "StepTaken"] == list(range(12))
    assert [one["done"] for one in found if one["event"] == "PiecesProgress"] == [0, 10]


def test_a_resumed_run_adds_to_the_log(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for tile in range(3):
        with EventLog(path) as log:
            log.write(finished(tile))
    assert [one["tile"] for one in records(path)] == [0, 1, 2]


def test_a_full_disk_does_not_stop_the_run(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from tilefarm.events import StepsProgress, LevelFinished
from tilefarm.geometry import Size
from tilefarm.rundir.event_log import EventLog
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with EventLog(Path(sys.argv[1])) as log:
    for level in range(100):
        log.write(LevelFinished(level, Size(1, 1), "a.png"))
"""
    path = tmp_path / "events.jsonl"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert path.stat().st_size == 1000
    assert [json.loads(line)["level"] for line in path.read_text().splitlines()[:5]] == list(range(5))
