"""What a run tells the monitoring, from its events; and that a run without a cluster tells nothing."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.faulty import write_job
from tests.standins import Mixer, opener
from tests.test_stopping import wait_for
from tilefarm import monitoring, telling
from tilefarm.driver import render, run_folder
from tilefarm.events import (
    Event,
    LevelBegan,
    RoundFinished,
    RunStarted,
    StepTaken,
    TileFinished,
    Transferred,
    WorkerChanged,
    WorkGiven,
    WorkReturned,
)
from tilefarm.execute.metrics import Metric, recorder
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Size
from tilefarm.monitoring import METRICS, Monitor
from tilefarm.solve.contract import Losses
from tilefarm.spec.load import load_job

STARTED = RunStarted("gate", "runs/gate-1", Size(100, 75), (100, 300), ("cpu", "cpu"), "float32", False)
ZERO = Losses(0.0, 0.0, 0.0, 0.0)


class Sheet:
    """What a Prometheus server would know."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}
        self.seen: dict[tuple[str, ...], list[float]] = defaultdict(list)

    def __call__(self, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
        assert set(tags) == set(metric.tags)
        assert metric.kind != "counter" or value >= 0
        key = (metric.name, *(tags[name] for name in metric.tags))
        self.seen[key].append(value)
        self.values[key] = value + (self.values.get(key, 0) if metric.kind == "counter" else 0)


def tile(round_number: int, loss: float, seconds: float, attempts: int = 1) -> TileFinished:
    weighted = Losses(loss, loss / 2, loss / 4, loss / 4)
    return TileFinished(1, round_number, 0, 1, 4, ZERO, ZERO, weighted, 30, 0, seconds, attempts)


def monitored(*events: Event, seconds: float = 1.0) -> Sheet:
    """A monitor's numbers after events that are so many seconds apart."""
    sheet, now = Sheet(), 0.0
    monitor = Monitor("gate-1", sheet, lambda: now, lambda: 7)
    for event in events:
        now += seconds
        monitor(event)
        monitor.refresh()
    return sheet


def test_tiles_of_a_round() -> None:
    found = monitored(
        STARTED,
        LevelBegan(1, Size(100, 75), 4, 2, 30),
        tile(0, 100.0, 2.0),
        tile(0, 50.0, 4.0, attempts=3),
    )
    values = found.values
    assert values["tilefarm_tiles_done", "gate-1", "2"] == 2
    assert values["tilefarm_tile_seconds_spent", "gate-1", "2"] == 6.0
    assert found.seen["tilefarm_tile_seconds", "gate-1", "2"] == [2.0, 4.0]
    assert values["tilefarm_retries", "gate-1", "2"] == 2
    assert values["tilefarm_loss", "gate-1", "2", "total"] == 75.0
    assert values["tilefarm_loss", "gate-1", "2", "content"] == 37.5
    assert values["tilefarm_workers", "gate-1"] == 2


def test_every_round_has_a_mean_of_its_own() -> None:
    found = monitored(
        STARTED,
        LevelBegan(1, Size(100, 75), 4, 2, 30),
        tile(0, 100.0, 1.0),
        RoundFinished(1, 0, 2.0, 1.0, 1.0),
        tile(1, 10.0, 1.0),
    )
    assert found.seen["tilefarm_loss", "gate-1", "2", "total"] == [100.0, 100.0, 10.0]


def test_steps_of_the_exact_method() -> None:
    worse, better = Losses(9.0, 3.0, 3.0, 3.0), Losses(5.0, 2.0, 2.0, 1.0)
    found = monitored(
        STARTED,
        LevelBegan(0, Size(100, 75), 1, 1, 3, 4),
        StepTaken(0, 1, 3, True, ZERO, better, 2.5),
        StepTaken(0, 2, 3, False, ZERO, worse, 1.5),
    ).values
    assert found["tilefarm_steps_done", "gate-1", "1"] == 2
    assert found["tilefarm_step_seconds_spent", "gate-1", "1"] == 4.0
    assert found["tilefarm_loss", "gate-1", "1", "total"] == 5.0  # that of a step taken back does not count


def test_workers_and_what_they_bring() -> None:
    sheet = Sheet()
    monitor = Monitor("gate-1", sheet)
    monitor(STARTED)
    monitor(LevelBegan(0, Size(100, 75), 1, 1, 3, 4))
    monitor.on_work(WorkGiven(0, "piece", (1,)))
    monitor.on_work(Transferred("sent", 1000))
    monitor.on_work(WorkReturned(0, "piece", (1,), 5000))
    monitor.on_work(Transferred("received", 30))
    monitor.on_work(Transferred("received", 20))
    monitor.on_work(WorkReturned(1, "piece", (2,), 0))
    monitor(WorkerChanged(1, "lost", "its process has ended", 1))
    assert ("tilefarm_workers", "gate-1") not in sheet.values
    monitor.refresh()
    found = sheet.values
    assert found["tilefarm_pixel_steps", "gate-1", "1"] == 5000
    assert found["tilefarm_calls_undone", "gate-1", "1"] == 1
    assert found["tilefarm_bytes", "gate-1", "1", "sent"] == 1000
    assert found["tilefarm_bytes", "gate-1", "1", "received"] == 50
    assert found["tilefarm_worker_changes", "gate-1", "lost"] == 1
    assert found["tilefarm_workers", "gate-1"] == 1


def test_memory_and_progress_are_looked_up() -> None:
    found = monitored(STARTED, LevelBegan(0, Size(100, 75), 40, 1, 30), *[tile(0, 1.0, 1.0)] * 20).seen
    assert set(found["tilefarm_driver_memory_bytes", "gate-1"]) == {7}
    assert found["tilefarm_progress", "gate-1"][-1] > found["tilefarm_progress", "gate-1"][0] == 0
    assert found["tilefarm_seconds_left", "gate-1"]


def test_gauges_are_set_again_without_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray forgets a gauge that is not; a counter that was added again would be wrong."""
    monkeypatch.setattr(monitoring, "REFRESH_SECONDS", 0.01)
    sheet = Sheet()
    monitor = Monitor("gate-1", sheet)
    monitor(STARTED)
    monitor(WorkerChanged(1, "lost", "its process has ended", 1))
    monitor.start()
    wait_for(lambda: len(sheet.seen["tilefarm_workers", "gate-1"]) >= 3, "setting it again")
    monitor.close()
    told = len(sheet.seen["tilefarm_workers", "gate-1"])
    assert sheet.seen["tilefarm_worker_changes", "gate-1", "lost"] == [1]
    assert set(sheet.seen["tilefarm_workers", "gate-1"]) == {1}
    assert not [thread for thread in threading.enumerate() if thread.name == "metrics"]
    assert len(sheet.seen["tilefarm_workers", "gate-1"]) == told


def test_names_are_unique_and_fit_for_prometheus() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("tilefarm_")
        assert not metric.name.endswith("_total")  # Ray adds it
        assert bool(metric.bounds) == (metric.kind == "histogram")


@pytest.mark.parametrize("choice", [ExecutorChoice("local"), ExecutorChoice("ray")])
def test_without_a_cluster_nothing_is_recorded(choice: ExecutorChoice) -> None:
    assert recorder(choice) is None


def test_a_run_without_a_cluster_has_no_monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "Monitor", None)  # not to be called
    job = load_job(write_job(tmp_path, "feathered"))
    outcome = render(
        job, run_folder(job, tmp_path / "runs"), ExecutorChoice("local"), lambda event: None, opener(Mixer())
    )
    assert outcome.output.exists()
