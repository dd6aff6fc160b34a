"""The same picture with and without interruption, and no work done twice."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests import standins
from tests.standins import Mixer, opener
from tilefarm.driver import load_run, render, run_folder
from tilefarm.errors import JobError, StoppedError
from tilefarm.events import Event, TileFinished
from tilefarm.execute.open import ExecutorChoice
from tilefarm.execute.protocol import Batch
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.summary import read_summary
from tilefarm.solve.contract import LevelTargets, SolverSettings
from tilefarm.solve.tasks import TileSolution
from tilefarm.spec.load import load_job

LOCAL = ExecutorChoice("local")
DEADLINE_SECONDS = 120.0
SOLVES = 1 + 2 * 5 * 4 + 2 * 8 * 6
"""Of the stand-in's job: 50x38 whole, 100x75 and 200x150 in two rounds."""
EVENTS = 1 + (3 + 3) + (2 + 4 + 15) + 2 * (2 + 9) + SOLVES + (1 + 2 + 2) + 1
"""The start; levels that begin and end; pieces of content and style, and of the picture for every round in
tiles; tiles; rounds; the end."""
KILLS = 2

Wait = Callable[[], bool]


class Halt(Exception):  # noqa: N818
    """Ends a run in mid-work, as a fault of ours would."""


def wait_for(condition: Wait, what: str) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.005)


def write_pictures(folder: Path, width: int, height: int) -> None:
    generator = np.random.default_rng(4)
    for name, size in (("content.png", (height, width, 3)), ("style.png", (40, 60, 3))):
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(folder / name)


def journal_lines(run: RunDir) -> list[dict[str, object]]:
    return [json.loads(line) for line in run.journal.read_text().splitlines()]


def tile_lines(run: RunDir) -> Counter[tuple[object, ...]]:
    """How often each tile was put on record."""
    return Counter(
        (line["level"], line["round"], line["tile"]) for line in journal_lines(run) if line["kind"] == "tile"
    )


def go_on(job_file: Path, worker: Mixer, listen: Callable[[Event], None] = lambda event: None) -> RunDir:
    job = load_job(job_file)
    run = run_folder(job, job_file.parent / "runs")
    render(job, run, LOCAL, listen, opener(worker))
    return run


def canvases(run: RunDir) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.root.glob("canvas-*.f32"))}


def status(run: RunDir) -> object:
    return (read_summary(run) or {}).get("status")


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    write_pictures(tmp_path, 200, 150)
    path = tmp_path / "job.yaml"
    path.write_text(
        "content: content.png\nstyle: style.png\noutput: {path: out.tif}\n"
        "method: feathered\npyramid: {smallest: 64}\ntiles: {size: 64, rounds: 2}\n"
    )
    return path


@dataclass(frozen=True)
class Undisturbed:
    """What a run without interruption gives."""

    output: bytes
    canvases: dict[str, bytes]
    events: list[Event]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_pictures(folder, 200, 150)
    path = folder / "job.yaml"
    path.write_text(
        "content: content.png\nstyle: style.png\noutput: {path: out.tif}\n"
        "method: feathered\npyramid: {smallest: 64}\ntiles: {size: 64, rounds: 2}\n"
    )
    events: list[Event] = []
    worker = Mixer()
    run = go_on(path, worker, events.append)
    assert worker.solved == SOLVES
    assert len(canvases(run)) == 3
    return Undisturbed((folder / "out.tif").read_bytes(), canvases(run), events)


def assert_same(run: RunDir, job_file: Path, undisturbed: Undisturbed) -> None:
    assert canvases(run) == undisturbed.canvases
    assert (job_file.parent / "out.tif").read_bytes() == undisturbed.output
    assert status(run) == "done"


def killed_driver(job_file: Path, log: Path, *options: str) -> None:
    """Run a driver on a stand-in until it kills itself."""
    process = subprocess.run(
        [sys.executable, standins.__file__, job_file, job_file.parent / "runs", "--log", log, *options],
        cwd=Path(standins.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr


def spread_events(count: int, seed: int) -> list[int]:
    """Numbers of events, counted from 1: one from each of `count` equal stretches of a run."""
    bounds = [1 + (EVENTS - 1) * part // count for part in range(count + 1)]
    generator = random.Random(seed)
    return [generator.randrange(low, high) for low, high in itertools.pairwise(bounds)]


# ---- killed drivers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("event", spread_events(KILLS, seed=29))
def test_a_driver_killed_between_tiles(
    job_file: Path, tmp_path: Path, undisturbed: Undisturbed, event: int
) -> None:
    log = tmp_path / "solved.log"
    killed_driver(job_file, log, "--kill-at-event", str(event))
    before = sum(isinstance(one, TileFinished) for one in undisturbed.events[:event])
    run = run_folder(load_job(job_file), tmp_path / "runs")
    assert status(run) == "running"  # what the kill left; `tilefarm status` looks at the lock as well
    assert sum(tile_lines(run).values()) == before

    worker = Mixer(log=log)
    assert go_on(job_file, worker) == run
    assert_same(run, job_file, undisturbed)
    assert worker.solved == SOLVES - before
    assert len(log.read_text().splitlines()) == SOLVES  # not one tile twice
    assert set(tile_lines(run).values()) == {1}


def test_a_driver_killed_in_a_tile_repeats_that_tile(
    job_file: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    log = tmp_path / "solved.log"
    killed_driver(job_file, log, "--kill-in-solve", "35")
    killed_driver(job_file, log, "--kill-in-solve", "50")
    run = go_on(job_file, Mixer(log=log))
    assert_same(run, job_file, undisturbed)
    assert len(log.read_text().splitlines()) == SOLVES + 2
    assert set(tile_lines(run).values()) == {1}


def test_a_torn_journal_line_costs_one_tile(job_file: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    log = tmp_path / "solved.log"
    killed_driver(job_file, log, "--kill-in-solve", "30")
    run = run_folder(load_job(job_file), tmp_path / "runs")
    with run.journal.open("r+b") as file:
        file.truncate(run.journal.stat().st_size - 7)
    worker = Mixer()
    go_on(job_file, worker)
    assert_same(run, job_file, undisturbed)
    assert worker.solved == SOLVES - 28


# ---- damage -------------------------------------------------------------------------------------------


def halted_at(job_file: Path, level: int, number: int, tile: int) -> RunDir:
    """A run that ended right after this tile was put on record."""

    def listen(event: Event) -> None:
        if isinstance(event, TileFinished) and (event.level, event.round, event.tile) == (
            level,
            number,
            tile,
        ):
            raise Halt

    with pytest.raises(Halt):
        go_on(job_file, Mixer(), listen)
    run = run_folder(load_job(job_file), job_file.parent / "runs")
    assert status(run) == "failed"
    return run


def flip(path: Path, byte: int) -> None:
    with path.open("r+b") as file:
        file.seek(byte)
        value = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([value ^ 1]))


def test_a_flipped_bit_in_a_finished_tile(job_file: Path, undisturbed: Undisturbed) -> None:
    run = halted_at(job_file, 2, 1, 20)
    flip(run.tiles, 7 * 64 * 64 * 12 + 1000)
    worker = Mixer()
    go_on(job_file, worker)
    assert_same(run, job_file, undisturbed)
    assert worker.solved == 48 - 21 + 1  # what was missing, and tile 7
    assert {key for key, count in tile_lines(run).items() if count > 1} == {(2, 1, 7)}


@pytest.mark.parametrize("damage", ["canvas", "targets", "canvas gone"])
def test_damage_to_the_level_in_progress(job_file: Path, undisturbed: Undisturbed, damage: str) -> None:
    run = halted_at(job_file, 2, 1, 20)
    if damage == "canvas":
        flip(run.canvas(2), 5000)
    elif damage == "targets":
        flip(run.targets(2), run.targets(2).stat().st_size // 2)
    else:
        run.canvas(2).unlink()
    worker = Mixer()
    go_on(job_file, worker)
    assert_same(run, job_file, undisturbed)
    assert worker.solved == 2 * 48  # the level anew, the coarser ones kept


def test_damage_to_everything_that_was_finished(job_file: Path, undisturbed: Undisturbed) -> None:
    run = halted_at(job_file, 2, 0, 3)
    for level in range(3):
        flip(run.canvas(level), 1234)
    worker = Mixer()
    go_on(job_file, worker)
    assert_same(run, job_file, undisturbed)
    assert worker.solved == SOLVES


def test_a_finished_canvas_that_was_damaged_is_noticed(job_file: Path, undisturbed: Undisturbed) -> None:
    run = go_on(job_file, Mixer())
    flip(run.canvas(2), 99)
    worker = Mixer()
    go_on(job_file, worker)
    assert_same(run, job_file, undisturbed)
    assert worker.solved == 2 * 48


def test_a_damaged_coarser_canvas_does_not_matter_any_more(job_file: Path, undisturbed: Undisturbed) -> None:
    run = halted_at(job_file, 2, 0, 3)
    good = canvases(run)["canvas-0.f32"]
    flip(run.canvas(0), 99)
    worker = Mixer()
    go_on(job_file, worker)
    assert worker.solved == 2 * 48 - 4
    run.canvas(0).write_bytes(good)
    assert_same(run, job_file, undisturbed)


# ---- a run folder that is not this job's any more -----------------------------------------------------


def test_a_run_folder_leads_back_to_its_job(job_file: Path) -> None:
    run = halted_at(job_file, 1, 0, 3)
    job, found = load_run(RunDir(run.root))
    assert found == run
    worker = Mixer()
    render(job, found, LOCAL, lambda event: None, opener(worker))
    assert worker.solved == SOLVES - 5


@pytest.mark.parametrize("name", ["content.png", "style.png"])
def test_a_changed_picture_cannot_go_on(job_file: Path, name: str) -> None:
    run = halted_at(job_file, 1, 0, 3)
    path = job_file.parent / name
    good = path.read_bytes()
    with Image.open(path) as image:
        changed = image.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    changed.save(path)
    with pytest.raises(JobError, match=r"have changed since it was started") as caught:
        load_run(run)
    assert caught.value.exit_code == 2
    path.write_bytes(good)
    assert load_run(run)[1] == run


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is not a run folder"):
        load_run(RunDir(tmp_path))


# ---- signals ------------------------------------------------------------------------------------------


def test_a_stop_that_comes_out_of_compiled_code_as_something_else(job_file: Path) -> None:
    """Ray's wait makes a SystemError of an exception that a signal's handler raises at the wrong moment."""

    class Garbling(Mixer):
        def solve(
            self, settings: SolverSettings, targets: LevelTargets, batch: Batch
        ) -> tuple[TileSolution, ...]:
            if self.solved == 3:
                try:
                    raise StoppedError("stopped by SIGTERM", 15)
                except StoppedError as error:
                    raise SystemError("returned a result with an exception set") from error
            return super().solve(settings, targets, batch)

    with pytest.raises(StoppedError) as caught:
        go_on(job_file, Garbling())
    assert caught.value.exit_code == 143
    assert status(run_folder(load_job(job_file), job_file.parent / "runs")) == "interrupted"


def test_a_stop_in_a_tile_is_no_failure_of_the_tile(job_file: Path) -> None:
    class Stopped(Mixer):
        def solve(
            self, settings: SolverSettings, targets: LevelTargets, batch: Batch
        ) -> tuple[TileSolution, ...]:
            if self.solved == 3:
                self.solved += 1
                raise StoppedError("stopped by SIGINT", 2)
            return super().solve(settings, targets, batch)

    worker = Stopped()
    with pytest.raises(StoppedError):
        go_on(job_file, worker)
    assert worker.solved == 4


# ---- real processes, real features --------------------------------------------------------------------


REAL_JOB = """
content: content.png
style: style.png
output: {path: out.tif}
method: feathered
objective:
  content_layers: {relu2_2: 1.0}
  style_layers: {relu1_1: 1.0, relu2_1: 1.0, relu3_1: 1.0}
pyramid: {smallest: 64, iterations: [2]}
tiles: {size: 64, rounds: 2, iterations: 2}
compute: {precision: float32, device: cpu, workers: 2}
"""
REAL_SOLVES = 1 + 2 * 5 * 4


def tilefarm_process(*arguments: str | Path) -> subprocess.Popen[str]:
    """The program, as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "from tilefarm.cli import main; main()", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def local_process(command: str, what: Path) -> subprocess.Popen[str]:
    """The program without Ray, on one core, and so with one thread, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        return tilefarm_process(command, what, "--executor", "local")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # the process inherits it
    try:
        return tilefarm_process(command, what, "--executor", "local")
    finally:
        os.sched_setaffinity(0, cores)


def finished(process: subprocess.Popen[str]) -> str:
    """What it said; it must have ended well."""
    _, said = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, said
    return said


@pytest.fixture
def real_job(tmp_path: Path) -> Path:
    write_pictures(tmp_path, 100, 75)
    path = tmp_path / "job.yaml"
    path.write_text(REAL_JOB)
    return path


@pytest.fixture(scope="module")
def real_output(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What an undisturbed `--executor local` run writes."""
    folder = tmp_path_factory.mktemp("real")
    write_pictures(folder, 100, 75)
    job_file = folder / "job.yaml"
    job_file.write_text(REAL_JOB)
    finished(local_process("submit", job_file))
    return (folder / "out.tif").read_bytes()


@pytest.fixture
def started(real_job: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], RunDir]]]:
    """Starts the program and waits until the run's journal has so many lines."""
    processes = []

    def start(command: str, what: Path, lines: int) -> tuple[subprocess.Popen[str], RunDir]:
        run = run_folder(load_job(real_job), real_job.parent / "runs")
        process = tilefarm_process(command, what)
        processes.append(process)

        def reached() -> bool:
            assert process.poll() is None, process.communicate()[1]
            return run.journal.exists() and run.journal.read_bytes().count(b"\n") >= lines

        wait_for(reached, f"journal line {lines}")
        return process, run

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_a_killed_submit_is_resumed(
    real_job: Path,
    real_output: bytes,
    started: Callable[..., tuple[subprocess.Popen[str], RunDir]],
) -> None:
    process, run = started("submit", real_job, 20)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if "Actor" in child.name()]
    assert len(workers) == 2
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = sum(tile_lines(run).values())
    assert 10 < before < REAL_SOLVES

    resumed = tilefarm_process("resume", run.root)
    said = finished(resumed)
    assert "2 workers" in said
    assert (real_job.parent / "out.tif").read_bytes() == real_output
    lines = tile_lines(run)
    assert len(lines) == REAL_SOLVES
    assert set(lines.values()) == {1}  # what was on record was not solved again
    assert status(run) == "done"
    assert not psutil.wait_procs(workers, timeout=DEADLINE_SECONDS)[1]


def test_sigterm_ends_a_submit_in_order(
    real_job: Path,
    real_output: bytes,
    started: Callable[..., tuple[subprocess.Popen[str], RunDir]],
) -> None:
    process, run = started("submit", real_job, 12)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) > 3
    begin = time.monotonic()
    process.terminate()
    _, said = process.communicate(timeout=DEADLINE_SECONDS)
    seconds = time.monotonic() - begin
    assert process.returncode == 143
    assert seconds < 10  # 3 on a machine that does nothing else
    assert "stopped by SIGTERM" in said
    assert f"tilefarm resume {run.root}" in said
    assert status(run) == "interrupted"
    assert not psutil.wait_procs(children, timeout=DEADLINE_SECONDS)[1]

    # without Ray it goes on to the same picture
    finished(local_process("resume", run.root))
    assert (real_job.parent / "out.tif").read_bytes() == real_output
    assert set(tile_lines(run).values()) == {1}
