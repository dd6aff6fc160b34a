"""Following a run and ending with it: what followers, sweeps and drivers make of each other's files."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.faulty import JOBS, drive, shortened, write_job
from tilefarm import attend, driver, follow, submission, telling
from tilefarm.batch import Entry, Group
from tilefarm.commands.common import told
from tilefarm.errors import RunBusyError, StoppedError, TilefarmError
from tilefarm.events import Event, LevelBegan, Noted, RunStarted
from tilefarm.execute.open import ExecutorChoice
from tilefarm.follow import EndedError
from tilefarm.geometry import Size
from tilefarm.rundir.event_log import EventLog
from tilefarm.rundir.holder import Holder, read_holder
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.rundir.summary import write_summary
from tilefarm.spec.load import load_job

STARTED = RunStarted("job", "runs/job", Size(100, 75), (100,), ("cpu",), "float32", resumed=False)
BEGAN = LevelBegan(0, Size(100, 75), 1, 1, 4)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    found = RunDir(tmp_path / "job-01234567")
    found.root.mkdir()
    return found


def record(status: str, **more: Any) -> dict[str, Any]:
    shown = {"output": "out.tif", "width": 100, "height": 75, "seconds": 1.0, "levels": []}
    return {"status": status, **shown, **more}


def driven(monkeypatch: pytest.MonkeyPatch, *acts: Callable[[], None]) -> None:
    """A driver that does one thing between two looks of a follower, and then is gone."""
    left = list(acts)

    def is_locked(run: RunDir) -> bool:
        if left:
            left.pop(0)()
        return bool(left)

    monkeypatch.setattr(follow, "is_locked", is_locked)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.0)


def followed(run: RunDir) -> tuple[bool, list[Event]]:
    told: list[Event] = []
    return follow.follow(run, told.append), told


# ---- a follower ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "done"),
    [
        (record("running"), record("done", exit_code=0), True),
        (None, record("done", exit_code=0), True),
        (record("running"), record("running"), False),
        (None, None, False),
        # what another driver said, before this one was killed in its first moments, is not this one's end
        (record("failed", exit_code=5), record("failed", exit_code=5), False),
        (record("interrupted", exit_code=130), record("interrupted", exit_code=130), False),
        (record("failed", exit_code=5), record("failed", exit_code=4, message="tile 3"), 4),
        (record("running"), record("cancelled", exit_code=143), 143),
    ],
)
def test_how_a_driver_ended(
    run: RunDir,
    monkeypatch: pytest.MonkeyPatch,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    done: bool | int,
) -> None:
    if before is not None:
        write_summary(run, before)
    driven(monkeypatch, lambda: None, lambda: None if after is None else write_summary(run, after))
    if isinstance(done, bool):
        assert followed(run) == (done, [])
    else:
        with pytest.raises(EndedError) as end:
            followed(run)
        assert end.value.exit_code == done


def test_a_damaged_outcome_is_waited_out(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.summary.write_text("{")
    driven(monkeypatch, lambda: None, lambda: write_summary(run, record("done", exit_code=0)))
    assert followed(run) == (True, [])
    run.summary.write_text("{")
    assert followed(run)[0] is False


def test_nothing_is_told_before_the_driver_says_what_it_does(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that was set back, or a lost line, hides its first event; a display cannot begin without."""
    lock = RunLock(run)
    with EventLog(run.events) as log:
        log.write(BEGAN)
        lock.close()
        driven(monkeypatch, lambda: log.write(BEGAN), lambda: None)
        assert followed(run)[1] == []
        driven(monkeypatch, lambda: log.write(STARTED), lambda: log.write(BEGAN), lambda: None)
        assert followed(run)[1] == [STARTED, BEGAN]


def test_a_log_that_begins_anew_is_read_from_its_beginning(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after --fresh, when who was followed is gone: the folder is another one."""
    with EventLog(run.events) as log:
        for _ in range(9):
            log.write(STARTED)

    def anew() -> None:
        run.events.unlink()
        with EventLog(run.events) as log:
            log.write(STARTED)
            log.write(Noted("anew"))

    driven(monkeypatch, anew, lambda: None)
    assert followed(run)[1][-1] == Noted("anew")


def test_an_event_after_a_torn_one_has_a_line_of_its_own(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EventLog(run.events) as log:
        log.write(Noted("whole"))
    os.truncate(run.events, run.events.stat().st_size - 5)
    with EventLog(run.events) as log:
        log.write(STARTED)
        full = log._file
        log._file = Half(full)  # type: ignore[assignment]
        log.write(Noted("cut off by a full disk"))
        log._file = full
        log.write(Noted("after it"))
    driven(monkeypatch, lambda: None)
    assert followed(run)[1] == [STARTED, Noted("after it")]
    lines = run.events.read_bytes().splitlines()
    assert [line.endswith(b"}") for line in lines] == [False, True, False, True]


class Half:
    """A file of which the system takes a half."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return int(self._file.write(data[: len(data) // 2]))


# ---- a sweep whose runs another driver has ----------------------------------------------------------


def two_runs(tmp_path: Path) -> Group:
    paths = [write_job(tmp_path / name, "feathered") for name in ("one", "two")]
    entries = tuple(Entry(path, load_job(path), RunDir(path.parent / "runs" / "job")) for path in paths)
    return Group(tmp_path, "two", entries, tmp_path / "sheet.png", tmp_path / ".cache")


@pytest.mark.parametrize(("signalled", "rendered"), [(False, ["one", "two"]), (True, ["one"])])
def test_a_followed_run_that_was_cancelled_does_not_end_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signalled: bool, rendered: list[str]
) -> None:
    """But Ctrl-C while following does."""
    tried: list[str] = []

    def render(job: Any, run: RunDir, *_: Any, **__: Any) -> None:
        name = run.root.parents[1].name
        tried.append(name)
        if name == "one":
            raise RunBusyError("busy")
        raise TilefarmError("two was tried")

    def follow_it(run: RunDir, listen: Any) -> bool:
        if signalled:
            raise StoppedError("stopped by SIGINT", signal.SIGINT)
        raise EndedError("one cancelled", 143)

    monkeypatch.setattr(driver, "render", render)
    monkeypatch.setattr(attend, "follow", follow_it)
    said: list[str] = []
    records, code = submission.render_all(
        [tmp_path],
        lambda path: two_runs(tmp_path),
        ExecutorChoice("local"),
        lambda error: said.append(str(error)),
        submission.Manner(attach=True),
    )
    assert tried == rendered
    assert len(records) == len(said) == len(rendered)
    assert code == (130 if signalled else 143)


def test_who_did_not_take_the_run_does_not_say_how_it_ended(run: RunDir) -> None:
    """The last words of a process that was still looking at its pictures, while another one renders."""
    write_summary(run, record("running"))
    stop = StoppedError("stopped by SIGTERM", signal.SIGTERM)
    own = Holder.this_process()
    for other in (own.model_copy(update={"process": os.getppid()}), own.model_copy(update={"started": "1"})):
        run.lock.write_text(other.model_dump_json())
        assert str(run.root) in submission._last_words(run, stop)
        assert json.loads(run.summary.read_text())["status"] == "running"
    with RunLock(run):
        submission._last_words(run, stop)
    assert json.loads(run.summary.read_text())["status"] == "interrupted"
    assert (read_holder(run.lock) or own).is_this_process


# ---- a full disk that no one foresaw ------------------------------------------------------------------


def test_a_full_disk_has_its_exit_code_in_the_outcome_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower ends with that code; the system says it here where no file is asked for room."""

    class Full(EventLog):
        def __init__(self, path: Path) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    kind = next(iter(JOBS))
    path = write_job(tmp_path, kind)
    with shortened(), monkeypatch.context() as patch:
        patch.setattr(telling, "EventLog", Full)
        with pytest.raises(TilefarmError, match=r"the disk became full while .*events\.jsonl") as end:
            drive(path, kind)
    (found,) = (tmp_path / "runs").glob("*/run.json")
    outcome = json.loads(found.read_text())
    assert (outcome["status"], outcome["exit_code"]) == ("failed", 5)
    assert end.value.exit_code == 5


def test_a_full_disk_under_any_command_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as end, told():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "losses.csv")
    assert end.value.exit_code == 5
    assert capsys.readouterr().err.startswith("error: the disk became full while losses.csv was written")
