"""A driver is killed, its machine is gone, and another machine goes on from the store to the same picture."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import stored
from tests.faulty import drive, shortened, write_job
from tests.stored import keep_and_drive
from tilefarm.events import Event
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.summary import read_summary
from tilefarm.spec.address import Address, parse_address
from tilefarm.store import mirror
from tilefarm.store.manifest import NAMES, Manifest, named_keys, read_newest, write_manifest
from tilefarm.store.objects import Store

KINDS = ("feathered", "means", "exact", "exact adam")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PAUSE", 0.0)
    monkeypatch.setattr(mirror, "POLL", stored.POLL)


@dataclass
class Undisturbed:
    made: dict[str, bytes]
    solved: int
    events: list[Event] = field(default_factory=list)


def made(folder: Path) -> dict[str, bytes]:
    """The picture, the film, the canvases and what shows their way."""
    patterns = ("out.tif", "film.gif", "runs/*/canvas-*.f32", "runs/*/snapshots/*")
    files = [path for pattern in patterns for path in folder.glob(pattern)]
    return {path.name: path.read_bytes() for path in files}


def solves(folder: Path) -> int:
    log = folder / "solved.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Undisturbed]:
    found = {}
    for kind in KINDS:
        path = write_job(tmp_path_factory.mktemp("undisturbed"), kind)
        events: list[Event] = []
        with shortened():
            drive(path, kind, events)
        found[kind] = Undisturbed(made(path.parent), solves(path.parent), events)
    return found


def killed(path: Path, kind: str, place: Address, *options: object) -> None:
    """A driver that is killed while it works."""
    arguments = [str(path), kind, str(place), *map(str, options)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.stored", *arguments],
        cwd=Path(stored.__file__).parents[1],
        env={**os.environ, "PYTHONPATH": str(Path(stored.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=stored.SECONDS,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_another_machine_goes_on_from_the_store(
    tmp_path: Path, place: Address, undisturbed: dict[str, Undisturbed], kind: str
) -> None:
    """What comes after the copy is done again, and nothing else."""
    expected = undisturbed[kind]
    wait_at, kill_at = round(len(expected.events) * 0.6), round(len(expected.events) * 0.8)
    one, other = write_job(tmp_path / "one", kind), write_job(tmp_path / "other", kind)
    killed(one, kind, place, "--wait-at", wait_at, "--kill-at", kill_at)
    before = solves(one.parent)
    shutil.rmtree(one.parent)

    told: list[str] = []
    run = keep_and_drive(other, kind, str(place), told.append)
    assert made(other.parent) == expected.made
    assert any("was restored from" in sentence for sentence in told)
    again = before + solves(other.parent) - expected.solved
    at_most = sum(_work(kind, event) for event in expected.events[wait_at - 1 : kill_at])
    assert 0 <= again <= at_most
    assert solves(other.parent) < expected.solved
    assert (read_summary(run) or {})["status"] == "done"
    _is_whole(place, run)


def _work(kind: str, event: Event) -> int:
    """Lines of the worker's log that lie before an event at most: a batch, or two passes over all pieces."""
    return 24 if kind.startswith("exact") else 2


def _is_whole(place: Address, run: RunDir) -> None:
    """All is there that the run has, nothing else lies about, and nobody holds it."""
    store = Store(place.within(run.name))
    newest = read_newest(store)
    assert newest is not None
    assert newest.progress == stored.kept(str(place), run)
    sizes = {path.relative_to(run.root).as_posix(): path.stat().st_size for path in run.root.rglob("*")}
    assert {name: kept.size for name, kept in newest.files.items()}.items() <= sizes.items()
    assert {"canvas-0.f32", "journal.jsonl", "job.yaml", "run.json", "losses.png"} <= newest.files.keys()
    assert set(store.keys("objects")) == named_keys(store)
    assert store.read("lease.json") is None


@pytest.mark.parametrize("kind", ["exact"])
def test_machines_that_are_taken_away_again_and_again(
    tmp_path: Path, place: Address, undisturbed: dict[str, Undisturbed], kind: str
) -> None:
    expected = undisturbed[kind]
    for number, share in enumerate((0.3, 0.6)):
        path = write_job(tmp_path / str(number), kind)
        count = round(len(expected.events) * share)
        killed(path, kind, place, "--wait-at", max(2, count - 3), "--kill-at", count)
        shutil.rmtree(path.parent)
    last = write_job(tmp_path / "last", kind)
    _is_whole(place, keep_and_drive(last, kind, str(place)))
    assert made(last.parent) == expected.made


def test_a_run_that_is_done_is_not_done_again(tmp_path: Path, undisturbed: dict[str, Undisturbed]) -> None:
    place = parse_address(f"file://{tmp_path}/store")
    one, other = (write_job(tmp_path / name, "feathered") for name in ("one", "other"))
    keep_and_drive(one, "feathered", str(place))
    run = keep_and_drive(other, "feathered", str(place))
    assert solves(other.parent) == 0
    assert made(other.parent) == undisturbed["feathered"].made
    _is_whole(place, run)


@pytest.fixture(scope="module")
def finished_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a finished run has left in a folder that is its store: two copies of it at the least."""
    folder = tmp_path_factory.mktemp("finished")
    address = f"file://{folder}/store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirror, "PAUSE", 0.0)
        patch.setattr(mirror, "POLL", stored.POLL)
        keep_and_drive(
            write_job(folder / "one", "feathered"),
            "feathered",
            address,
            listen=lambda run: stored.Eventful(run, address, wait_at=10),
        )
    return folder / "store"


@dataclass
class Finished:
    """A copy of it, and a job on another machine."""

    path: Path
    address: str
    store: Store
    newest: Manifest


@pytest.fixture
def finished(tmp_path: Path, finished_store: Path) -> Finished:
    shutil.copytree(finished_store, tmp_path / "store")
    address = parse_address(f"file://{tmp_path}/store")
    [run] = (tmp_path / "store").glob("job-*")
    store = Store(address.within(run.name))
    newest = read_newest(store)
    assert newest is not None
    return Finished(write_job(tmp_path / "other", "feathered"), str(address), store, newest)


@pytest.mark.parametrize("name", ["journal.jsonl", "canvas-1.f32", "targets-1.npz", "job.yaml", "run.json"])
@pytest.mark.parametrize("harm", ["bit", "gone"])
def test_damage_at_the_store_is_found_and_made_good(
    finished: Finished, undisturbed: dict[str, Undisturbed], name: str, harm: str
) -> None:
    key = finished.newest.files[name].blocks[-1].key
    data = finished.store.read(key) or b""
    if harm == "gone":
        finished.store.remove([key])
    else:
        finished.store.write(key, bytes([data[0] ^ 4]) + data[1:])
    told: list[str] = []
    keep_and_drive(finished.path, "feathered", finished.address, told.append)
    assert any(sentence.endswith("; damaged there: 1 blocks") for sentence in told)
    assert made(finished.path.parent) == undisturbed["feathered"].made
    assert solves(finished.path.parent) <= undisturbed["feathered"].solved


def test_a_torn_manifest_leaves_the_one_before(finished: Finished) -> None:
    name = f"manifest-{finished.newest.generation % 2}.json"
    finished.store.write(name, (finished.store.read(name) or b"")[:-40])
    before = read_newest(finished.store)
    assert before is not None
    assert before.generation == finished.newest.generation - 1
    assert all(finished.store.size(key) is not None for key in before.keys)
    keep_and_drive(finished.path, "feathered", finished.address)
    assert (finished.path.parent / "out.tif").exists()


def test_a_manifest_that_leads_out_of_the_folder_is_not_read(finished: Finished) -> None:
    files = finished.newest.files
    evil = finished.newest.model_copy(update={"files": {**files, "../../evil": files["job.yaml"]}})
    finished.store.remove(NAMES)
    write_manifest(finished.store, evil)
    assert read_newest(finished.store) is None
    keep_and_drive(finished.path, "feathered", finished.address)
    assert not [*finished.path.parents[1].rglob("evil")]


def test_a_folder_that_is_further_than_the_store_stays(tmp_path: Path) -> None:
    place = parse_address(f"file://{tmp_path}/store")
    path = write_job(tmp_path / "one", "feathered")
    killed(path, "feathered", place, "--wait-at", 5, "--kill-at", 20)
    solved = solves(path.parent)
    told: list[str] = []
    keep_and_drive(path, "feathered", str(place), told.append)
    assert not [sentence for sentence in told if "restored" in sentence]
    assert solves(path.parent) >= solved


def test_a_folder_that_is_behind_the_store_is_set_aside(
    tmp_path: Path, undisturbed: dict[str, Undisturbed]
) -> None:
    place = parse_address(f"file://{tmp_path}/store")
    here, there = (write_job(tmp_path / name, "feathered") for name in ("here", "there"))
    killed(here, "feathered", place, "--wait-at", 5, "--kill-at", 10)
    keep_and_drive(there, "feathered", str(place))
    solved = solves(here.parent)
    keep_and_drive(here, "feathered", str(place))
    assert solves(here.parent) == solved
    assert len([*(here.parent / "runs").glob("*.old-1")]) == 1
    assert made(here.parent).items() >= undisturbed["feathered"].made.items()
