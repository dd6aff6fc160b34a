"""One log for the events of many runs; and the status of many runs, one of them damaged."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest

import tilefarm.driver
from tests.faulty import WEIGHTS, write_job
from tests.program import Command, program
from tests.standins import Mixer
from tilefarm.execute.local import LocalExecutor
from tilefarm.rundir.holder import Holder
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.rundir.live import FACTS, LiveFile


@pytest.fixture
def tilefarm_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The program on a stand-in."""
    monkeypatch.setattr(tilefarm.driver, "open_executor", lambda *_: LocalExecutor(Mixer()))
    monkeypatch.setattr(tilefarm.driver, "load_weights", lambda *_: WEIGHTS)
    return program(monkeypatch, capfd)


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    return [write_job(tmp_path / name, "feathered") for name in ("one", "two")]


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_runs_write_into_one_file(tmp_path: Path, jobs: list[Path], tilefarm_command: Command) -> None:
    log = tmp_path / "farm.log"
    assert tilefarm_command("submit", *jobs, "--log", log).code == 0
    found = records(log)
    assert {record["host"] for record in found} == {platform.node()}
    for job in jobs:
        (root,) = (job.parent / "runs").iterdir()
        mine = [record for record in found if record["run"] == str(root)]
        events = records(root / "events.jsonl")
        assert [record["event"] for record in mine[:-1]] == [record["event"] for record in events]
        assert mine[0]["event"] == "RunStarted"
        assert mine[-1]["event"] == "RunEnded"
        assert (mine[-1]["status"], mine[-1]["exit_code"], mine[-1]["message"]) == ("done", 0, None)
        assert all("host" not in record for record in events)
    again = tilefarm_command("submit", *jobs, "--log", log)
    assert again.code == 0
    assert records(log) == found  # there was nothing to tell


def test_the_environment_names_a_log(
    tmp_path: Path, jobs: list[Path], tilefarm_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILEFARM_LOG", str(tmp_path / "farm.log"))
    assert tilefarm_command("submit", jobs[0]).code == 0
    assert records(tmp_path / "farm.log")[-1]["event"] == "RunEnded"


def test_a_run_that_fails_says_so_in_the_log(
    tmp_path: Path, jobs: list[Path], tilefarm_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Mixer):
        def solve(self, *_: Any) -> Any:
            raise RuntimeError("no luck")

    monkeypatch.setattr(tilefarm.driver, "open_executor", lambda *_: LocalExecutor(Broken()))
    code = tilefarm_command("submit", jobs[0], "--log", tmp_path / "farm.log").code
    last = records(tmp_path / "farm.log")[-1]
    assert (last["event"], last["status"], last["exit_code"]) == ("RunEnded", "failed", code)
    assert "no luck" in last["message"]


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_log_that_cannot_be_written(
    tmp_path: Path, jobs: list[Path], tilefarm_command: Command, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Told before any work, in one sentence."""
    path = tmp_path / "nowhere" / "farm.log"
    if by == "variable":
        monkeypatch.setenv("TILEFARM_LOG", str(path))
    answer = tilefarm_command("submit", jobs[0], *(["--log", path] if by == "option" else []))
    assert answer.code == 2
    (line,) = answer.told
    assert str(path) in line
    assert ("--log" if by == "option" else "TILEFARM_LOG") in line
    assert not (jobs[0].parent / "runs").exists()


def test_one_damaged_run_does_not_hide_the_others(
    tmp_path: Path, jobs: list[Path], tilefarm_command: Command
) -> None:
    assert tilefarm_command("submit", *jobs, "--run-dir", tmp_path / "runs").code == 0
    roots = sorted((tmp_path / "runs").iterdir())
    assert len(roots) == 1  # both jobs are one run: the same picture
    bad = tmp_path / "runs" / "aaa-damaged"
    bad.mkdir()
    (bad / "run.json").write_text("{")
    answer = tilefarm_command("status", "--json")
    assert answer.code == 1
    first, second = answer.records
    assert (first["status"], second["status"]) == ("damaged", "done")
    assert "resume" in first["message"]
    assert second["live"] is None
    shown = tilefarm_command("status")
    assert shown.code == 1
    assert ": done, " in shown.out
    assert "is damaged" in shown.err
    assert tilefarm_command("status", roots[0]).code == 0


def test_live_facts_of_a_run_at_work(tmp_path: Path, jobs: list[Path], tilefarm_command: Command) -> None:
    assert tilefarm_command("submit", jobs[0], "--run-dir", tmp_path / "runs").code == 0
    (root,) = (tmp_path / "runs").iterdir()
    run, holder = RunDir(root), Holder.this_process()
    with RunLock(run):
        assert tilefarm_command("status", "--json", root).records[0]["live"] is None
        told = dict.fromkeys(FACTS) | {"share": 0.25, "seconds_left": 12.5, "in_flight": [1]}
        LiveFile(run).write({"driver": [holder.process, holder.started], **told})
        live = tilefarm_command("status", "--json", root).records[0]["live"]
        assert set(live) == set(FACTS)
        assert (live["share"], live["seconds_left"]) == (0.25, 12.5)


def test_every_documented_key_is_there(tmp_path: Path, jobs: list[Path], tilefarm_command: Command) -> None:
    text = (Path(__file__).parents[1] / "docs" / "scripts.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    keys = {name.strip(" `") for row in rows for name in row[1].split(",")}
    assert {"run", "status", "levels", "live"} <= keys
    assert tilefarm_command("submit", jobs[0], "--run-dir", tmp_path / "runs").code == 0
    (record,) = tilefarm_command("status", "--json").records
    assert keys <= set(record)
    (levels,) = [row[2] for row in rows if "`levels`" in row[1]]
    for key in ("width", "tiles", "rounds_done", "steps_done", "loss_last"):
        assert f"`{key}`" in levels
        assert key in record["levels"][0]
