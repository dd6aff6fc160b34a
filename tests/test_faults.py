"""A driver that dies at any commit point, or at any moment, goes on to the same picture."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faulty import JOBS, Server, drive, shortened, write_job
from tilefarm import faults
from tilefarm.driver import run_folder
from tilefarm.events import Event, LevelBegan
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.summary import read_summary
from tilefarm.spec.load import load_job

MOMENTS = 20
SEED = 61
MOST_RUNS = 12


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody killed."""

    made: dict[str, bytes]
    points: list[str]
    """In the order in which they were reached."""
    solved: int
    in_flight: int
    """Lines of the workers' log that a kill can cost at most: a batch, or both passes over all pieces."""


def made(path: Path, run: RunDir) -> dict[str, bytes]:
    """The picture, the film, and what the run folder keeps of them."""
    kept = [*run.root.glob("canvas-*.f32"), *run.snapshots.glob("*")]
    outputs = [path.parent / name for name in ("out.tif", "film.gif", "sent/out.tif")]
    files = [file for file in [*kept, *outputs] if file.exists()]
    return {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in files}


def solves(path: Path) -> int:
    return len((path.parent / "solved.log").read_text().splitlines())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Undisturbed]:
    found = {}
    for kind in JOBS:
        path = write_job(tmp_path_factory.mktemp("undisturbed"), kind)
        points: list[str] = []
        events: list[Event] = []
        with shortened(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(faults, "reached", points.append)
            run = drive(path, kind, events)
        pieces = max(event.pieces for event in events if isinstance(event, LevelBegan))
        # what lies with workers is kept now and then: a kill may cost all of a level's four steps
        passes = 2 * (4 + 1) if kind == "exact workers" else 2
        found[kind] = Undisturbed(made(path, run), points, solves(path), max(passes * pieces, 2))
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server.start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def processor_time(tmp_path_factory: pytest.TempPathFactory, server: Server) -> dict[str, float]:
    """Of a whole run of each kind."""
    return {kind: server.drive(write_job(tmp_path_factory.mktemp("timed"), kind), kind)[1] for kind in JOBS}


def assert_same(path: Path, expected: Undisturbed, kills: int) -> None:
    run = run_folder(load_job(path), path.parent / "runs")
    assert made(path, run) == expected.made
    assert (read_summary(run) or {})["status"] == "done"
    assert expected.solved <= solves(path) <= expected.solved + kills * expected.in_flight
    assert not [*path.parent.rglob(".*"), *run.root.glob("optimizer-*"), *run.root.glob("journal.damaged*")]


def test_no_name_is_dead_and_none_is_unknown(undisturbed: dict[str, Undisturbed]) -> None:
    reached = {point for run in undisturbed.values() for point in run.points}
    assert reached == set(faults.POINTS)


@pytest.mark.parametrize("kind", JOBS)
def test_a_driver_killed_at_every_point(
    tmp_path: Path, server: Server, undisturbed: dict[str, Undisturbed], kind: str
) -> None:
    """One after the other, each at some time when it lies ahead.

    A run that is done by then, since it is past the only such point, makes room for the next.
    """
    expected = undisturbed[kind]
    generator = random.Random(SEED)
    times: dict[str, list[int]] = {}
    for place, point in enumerate(expected.points):
        times.setdefault(point, []).append(place)
    order = sorted(times, key=lambda point: generator.choice(times[point]))
    runs = itertools.count()
    path, kills = write_job(tmp_path / str(next(runs)), kind), 0
    for point in order:
        code, _ = server.drive(path, kind, fault=point)
        if code == 0:
            assert_same(path, expected, kills)
            path, kills = write_job(tmp_path / str(next(runs)), kind), 0
            code, _ = server.drive(path, kind, fault=point)
        assert code == -signal.SIGKILL, point
        kills += 1
    assert server.drive(path, kind)[0] == 0
    assert_same(path, expected, kills)
    assert next(runs) < MOST_RUNS


@pytest.mark.parametrize(
    ("number", "kind"), list(zip(range(MOMENTS), itertools.cycle(JOBS), strict=False)), ids=str
)
def test_a_driver_killed_at_a_random_moment(
    tmp_path: Path,
    server: Server,
    undisturbed: dict[str, Undisturbed],
    processor_time: dict[str, float],
    number: int,
    kind: str,
) -> None:
    """Of its processor time, so wherever it is: between two instructions, or in the middle of a write."""
    path = write_job(tmp_path, kind)
    moment = processor_time[kind] * random.Random(SEED + number).uniform(0.02, 0.7)
    assert server.drive(path, kind, seconds=moment)[0] == -signal.SIGPROF
    assert server.drive(path, kind)[0] == 0
    assert_same(path, undisturbed[kind], 1)


def test_the_orders() -> None:
    assert faults.parse("tile: line written") == ("tile: line written", 1)
    assert faults.parse("tile: line written:12") == ("tile: line written", 12)
    for wrong in ("", "tile", "tile: line written:x", "tile: line eaten:2"):
        with pytest.raises(ValueError, match="no point"):
            faults.parse(wrong)


def test_a_point_kills_when_it_is_reached_for_the_nth_time_and_never_without_an_order() -> None:
    program = (
        "from tilefarm import faults\n"
        "for number in range(5):\n"
        "    print(number, flush=True)\n"
        "    faults.reached('tiles: synced')\n"
        "    faults.reached('tiles: written')\n"
    )
    for order, code, printed in ((None, 0, 5), ("tiles: synced:3", -signal.SIGKILL, 3)):
        environment = {key: value for key, value in os.environ.items() if key != faults.VARIABLE}
        if order:
            environment[faults.VARIABLE] = order
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
        )
        assert (done.returncode, len(done.stdout.splitlines())) == (code, printed), done.stderr
