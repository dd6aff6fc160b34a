"""Resting: nothing is under way meanwhile, no time counts, and the picture is the same in the end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faulty import JOBS, shortened, worker_for, write_job
from tests.test_stopping import IN_TIME, SECONDS, Bench, bench, undisturbed, wait_for
from tilefarm import driver, pauses
from tilefarm.errors import JobError
from tilefarm.events import Continued, Event, LevelBegan, Paused, RunStarted, StepTaken, TileFinished
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.open import ExecutorChoice
from tilefarm.execute.protocol import Batch, BatchDone, Progress
from tilefarm.geometry import Size
from tilefarm.pause import pause, unpause
from tilefarm.pauses import Pauses, ask, withdraw
from tilefarm.progress import ProgressModel
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.solve.contract import LevelTargets, Losses, SolverSettings
from tilefarm.spec.load import load_job

__all__ = ["bench", "undisturbed"]


class Watching(LocalExecutor):
    """Knows at every moment which batches are out."""

    out = 0

    def solve(
        self,
        settings: SolverSettings,
        targets: LevelTargets,
        batches: Iterable[Batch],
        on_progress: Callable[[Progress], None],
    ) -> Iterator[BatchDone]:
        def counted() -> Iterator[Batch]:
            for batch in batches:
                self.out += 1
                yield batch

        for done in super().solve(settings, targets, counted(), on_progress):
            self.out -= 1
            yield done


def drive(path: Path, kind: str, listen: Callable[[Event, RunDir, Watching], None]) -> RunDir:
    job = load_job(path)
    run = driver.run_folder(job, path.parent / "runs")
    executor = Watching(worker_for(kind))
    driver.render(
        job, run, ExecutorChoice("local"), lambda event: listen(event, run, executor), lambda *_: executor
    )
    return run


@pytest.mark.parametrize("kind", sorted(JOBS))
def test_the_picture_is_the_same_and_nothing_is_under_way_while_it_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Asked to rest after every tile and every step; the sleep ends the pause."""
    folder = {}
    rests: list[int] = []
    asked: list[Event] = []

    def listen(event: Event, run: RunDir, executor: Watching) -> None:
        folder["run"] = run
        if isinstance(event, TileFinished | StepTaken | LevelBegan):
            asked.append(event)
            ask(run)
        if isinstance(event, Paused):
            rests.append(executor.out)
            assert event.root == str(run.root)

    with shortened():
        plain = drive(write_job(tmp_path / "plain", kind), kind, lambda *_: None)
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: withdraw(folder["run"]))
        monkeypatch.setattr(pauses, "time", clock)
        rested = drive(write_job(tmp_path / "rested", kind), kind, listen)
    assert len(asked) > 3
    assert len(rests) > len(asked) / 2 - 3, "two tiles may come in one batch"
    assert set(rests) == {0}
    assert not rested.pause.exists()
    assert (tmp_path / "rested/out.tif").read_bytes() == (tmp_path / "plain/out.tif").read_bytes()
    names = [sorted(path.name for path in run.root.iterdir()) for run in (plain, rested)]
    assert names[0] == names[1]


def test_time_of_a_pause_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, told = RunDir(tmp_path), list[Event]()
    now = 100.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += 500
        if now >= 1100:
            withdraw(run)

    monkeypatch.setattr(pauses, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    resting = Pauses(run, told.append)
    before = resting.worked()
    resting.rest()
    assert told == []
    ask(run)
    now += 7
    resting.rest()
    assert told == [Paused(str(tmp_path)), Continued(1000.0)]
    assert resting.worked() - before == 7


def test_the_time_left_is_that_without_the_pause() -> None:
    losses = Losses(3.0, 1.0, 2.0, 0.0)
    begin: list[Event] = [
        RunStarted("gate", "runs/gate", Size(6, 4), (100,), ("cpu",), "float32", False),
        LevelBegan(0, Size(6, 4), 1, 1, 10),
    ]
    model = ProgressModel()
    for event in begin:
        model.take(event, 0.0)
    model.take(StepTaken(0, 1, 10, True, losses, losses, 10.0), 10.0)
    assert model.seconds_left(10.0) == pytest.approx(90)
    model.take(Paused("run"), 10.0)
    model.take(Continued(3600.0), 3610.0)
    assert model.seconds_left(3610.0) == pytest.approx(90)


def test_who_is_not_at_work_cannot_rest(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "job-01234567")
    for steer in (pause, unpause):
        with pytest.raises(JobError, match="there is no run folder"):
            steer(run)
    run.root.mkdir()
    for steer in (pause, unpause):
        with pytest.raises(JobError, match=r"is not running \(not started\)"):
            steer(run)
    assert not run.pause.exists()
    with RunLock(run):
        assert "not paused" in unpause(run)
        assert "pausing" in pause(run)
        assert "paused already" in pause(run)
        assert run.pause.exists()
        assert "goes on" in unpause(run)
        assert not run.pause.exists()


# ---- processes ----------------------------------------------------------------------------------------


def paused(bench: Bench) -> Any:
    """The program, at rest in the middle of a round."""
    process = bench.held()
    assert "pausing" in bench.told("pause", bench.run.root)
    bench.release()
    bench.until(process, lambda: '"event":"Paused"' in bench.run.events.read_text(), "the pause")
    return process


def test_pause_and_unpause_from_another_terminal(bench: Bench, undisturbed: bytes) -> None:
    process = paused(bench)
    told = bench.told("status", bench.run.root)
    assert ": paused, 100x75" in told
    assert f"go on with: tilefarm unpause {bench.run.root}" in told
    (record,) = json.loads(bench.told("status", "--json", bench.run.root))
    assert record["status"] == "paused"
    assert bench.record["status"] == "running", "of the file's own words"
    journal = bench.run.journal.read_bytes()
    wait_for(lambda: json.loads(bench.run.live.read_text())["paused"], "the news of it")
    assert bench.run.journal.read_bytes() == journal
    assert f"{bench.run.root} goes on" in bench.told("unpause", bench.run.root)
    said = bench.ended(process)
    assert f"paused; go on with: tilefarm unpause {bench.run.root}" in said
    assert "going on after a pause of" in said
    assert bench.output == undisturbed
    assert bench.record["seconds"] < 60
    assert not bench.run.live.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_paused_run_in_time(bench: Bench, undisturbed: bytes, number: int) -> None:
    process = paused(bench)
    begin = time.monotonic()
    process.send_signal(number)
    bench.ended(process, 128 + number)
    assert time.monotonic() - begin < IN_TIME
    assert bench.record["status"] == "interrupted"
    bench.told("resume", bench.run.root)
    assert bench.output == undisturbed


def test_cancel_ends_a_paused_run(bench: Bench) -> None:
    process = paused(bench)
    assert "cancelled" in bench.told("cancel", bench.run.root)
    bench.ended(process, 143)
    assert "cancelled" in bench.told("status", bench.run.root)


def test_a_run_that_was_killed_while_it_rested_goes_on_unpaused(bench: Bench, undisturbed: bytes) -> None:
    process = paused(bench)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(SECONDS)
    assert bench.run.pause.exists()
    assert ": interrupted, 100x75" in bench.told("status", bench.run.root)
    assert "not running" in bench.told("unpause", bench.run.root, code=2)
    bench.told("resume", bench.run.root)
    assert bench.output == undisturbed
    assert not bench.run.pause.exists()
