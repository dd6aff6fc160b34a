"""A store that fails while a run goes on: the run does not notice, and the store has all in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests import stored
from tests.faulty import write_job
from tests.program import Command
from tests.s3 import S3
from tests.stored import keep_and_drive, kept, until
from tilefarm.events import Event
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.address import Address, parse_address
from tilefarm.store import blocks, keeping, mirror
from tilefarm.store.capture import progress_of
from tilefarm.store.keeping import Keeper, Wish
from tilefarm.store.manifest import read_newest
from tilefarm.store.mirror import Pace
from tilefarm.store.objects import Store


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PAUSE", 0.05)
    monkeypatch.setattr(mirror, "POLL", stored.POLL)


def at(numbers: Mapping[int, Callable[[RunDir], object]]) -> Callable[[RunDir], Callable[[Event], None]]:
    """A listener that does something with the run at some events, counted from 1."""

    def listening(run: RunDir) -> Callable[[Event], None]:
        count = 0

        def listen(event: Event) -> None:
            nonlocal count
            count += 1
            if count in numbers:
                numbers[count](run)

        return listen

    return listening


def test_a_server_that_goes_away_and_comes_back(tmp_path: Path, place: Address, s3: S3) -> None:
    """While it is away the run goes on; what it missed is sent afterwards, and both are said once."""
    told: list[str] = []
    away = {
        5: lambda run: until(lambda: kept(str(place), run) is not None, "the first copy"),
        6: lambda run: s3.stop(),
        20: lambda run: until(lambda: any("could not be" in sentence for sentence in told), "the trouble"),
        25: lambda run: s3.start(),
    }
    try:
        run = keep_and_drive(write_job(tmp_path, "feathered"), "feathered", str(place), told.append, at(away))
    finally:
        s3.stop()
        s3.start()
    assert kept(str(place), run) == progress_of(run)
    assert [sentence for sentence in told if "the run goes on, and it is tried again" in sentence]
    assert sum("is reached again" in sentence for sentence in told) >= 1
    assert len(told) <= 4


def test_a_server_that_stays_away(
    tmp_path: Path, place: Address, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends well and says what is missing; the next submission sends it."""
    monkeypatch.setattr(keeping, "LAST_PATIENCE", 0.3)
    told: list[str] = []
    path = write_job(tmp_path, "feathered")
    try:
        away = {6: lambda run: s3.stop()}
        run = keep_and_drive(path, "feathered", str(place), told.append, at(away))
    finally:
        s3.stop()
        s3.start()
    assert (tmp_path / "out.tif").exists()
    assert any("not all of" in sentence and "is at s3://" in sentence for sentence in told)
    until(lambda: all(thread.name != "store" for thread in threading.enumerate()), "the end of the thread")
    monkeypatch.setattr(keeping, "LAST_PATIENCE", 60.0)
    keep_and_drive(path, "feathered", str(place), told.append)
    assert kept(str(place), run) == progress_of(run)


def test_no_room_for_copies_is_said_and_the_run_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LAST_PATIENCE", 0.3)
    monkeypatch.setattr(blocks, "SPARE_DISK", 1 << 60)
    told: list[str] = []
    keep_and_drive(write_job(tmp_path, "feathered"), "feathered", f"file://{tmp_path}/store", told.append)
    assert (tmp_path / "out.tif").exists()
    assert any("has no room for copies" in sentence for sentence in told)
    assert not [*(tmp_path / "runs").rglob(".store")]


def test_the_rate_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent is counted against the time that it took; the waiting is counted, not waited for."""
    waits: list[float] = []
    sent: list[int] = []
    between = mirror.Mirror._between

    class Counting:
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            return False

    def counting(self: mirror.Mirror, size: int, seconds: float) -> None:
        sent.append(size)
        real, self._given_up = self._given_up, Counting()  # type: ignore[assignment]
        between(self, size, 0.25 * size / 2**19)
        self._given_up = real

    monkeypatch.setattr(mirror.Mirror, "_between", counting)
    monkeypatch.setattr(stored, "Pace", lambda seconds, rate: Pace(0.0, 0.5))
    keep_and_drive(write_job(tmp_path, "feathered"), "feathered", f"file://{tmp_path}/store")
    assert sum(sent) > 100_000
    assert sum(waits) == pytest.approx(0.75 * sum(sent) / 2**19)


def test_an_optimizer_is_sent_at_the_interval_and_the_journal_at_once(tmp_path: Path) -> None:
    """With an interval of an hour only the beginnings and the ends of levels are kept."""
    path = write_job(tmp_path, "exact")
    steps: list[int] = []

    def look(run: RunDir) -> None:
        newest = read_newest(Store(parse_address(f"file://{tmp_path}/store/{run.name}")))
        steps.append(0 if newest is None else newest.progress[3])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "Pace", lambda seconds, rate: Pace(3600.0, rate))
        keep_and_drive(
            path, "exact", f"file://{tmp_path}/store", listen=at(dict.fromkeys(range(1, 200), look))
        )
    assert steps
    assert max(steps) <= 1  # a level's line, and the step that was committed by then


def test_stopping_sends_what_is_there(tmp_path: Path) -> None:
    """After a signal the block ends at once, and the rest is sent by `finish`."""
    from tilefarm.errors import StoppedError

    run = RunDir(tmp_path / "runs" / "job-00000000")
    told: list[str] = []
    keeper = Keeper.at(Wish(f"file://{tmp_path}/store", Pace()), told.append)
    run.root.mkdir(parents=True)

    def work() -> None:
        with keeper.keeping(run):
            run.job.write_text("job")
            raise StoppedError("stopped by SIGTERM", 15)

    with pytest.raises(StoppedError):
        work()
    keeper.finish()
    store = Store(parse_address(f"file://{tmp_path}/store/{run.name}"))
    newest = read_newest(store)
    assert newest is not None
    assert newest.files["job.yaml"].size == 3
    assert store.read("lease.json") is None
    assert told == []


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("runs", "--store must be PROTOCOL://PLACE/NAME"),
        ("s3://nobodys-bucket/runs", "--store: s3://nobodys-bucket/runs could not be written"),
        ("s3://me:hush@bucket/runs", "--store must not hold a password"),
    ],
)
@pytest.mark.usefixtures("s3")
def test_what_is_wrong_with_a_store_is_told_before_any_work(
    tilefarm_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, sentence: str
) -> None:
    path = write_job(tmp_path, "feathered")
    answer = tilefarm_command("submit", path, "--store", address)
    assert answer.code == 2
    assert sentence in answer.err
    assert "hush" not in answer.err
    assert not (tmp_path / "runs").exists()
    monkeypatch.setenv("TILEFARM_STORE", address)
    assert tilefarm_command("submit", path).code == 2


def test_the_command_keeps_restores_and_begins_anew(tilefarm_command: Command, tmp_path: Path) -> None:
    address = f"file://{tmp_path}/store"
    one, other = (write_job(tmp_path / name, "feathered") for name in ("one", "other"))
    first = tilefarm_command("submit", one, "--store", address, "--json")
    assert first.code == 0, first.err
    assert first.records[0]["store"] == {"address": address, "complete": True}
    [run] = (tmp_path / "one" / "runs").iterdir()

    restored = tilefarm_command("submit", other, "--store", address)
    assert "was restored from" in restored.err
    resumed = tilefarm_command("resume", tmp_path / "third" / run.name, "--store", address)
    assert resumed.code == 0, resumed.err
    assert (tmp_path / "third" / run.name / "canvas-1.f32").exists()

    anew = tilefarm_command("submit", one, "--store", address, "--fresh")
    assert anew.code == 0
    assert "is now manifest.old-1.json there" in anew.err
    assert "was restored" not in anew.err
    store = Store(parse_address(f"{address}/{run.name}"))
    old = store.read("manifest.old-1.json")
    assert old is not None
    assert read_newest(store) is not None
    assert tilefarm_command("submit", one, "--store", address).code == 0
    from tilefarm.store.manifest import named_keys

    assert set(store.keys("objects")) == named_keys(store)
