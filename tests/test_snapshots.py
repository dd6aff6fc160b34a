"""Snapshots of whole runs: which there are, what they show, and the same set after a kill."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests import standins
from tests.standins import Mixer, opener
from tilefarm.driver import render, run_folder
from tilefarm.events import Event, StepTaken
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Size
from tilefarm.image.window import open_raw
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

LOCAL = ExecutorChoice("local")
FEATHERED = (
    "method: feathered\npyramid: {smallest: 64, iterations: [10]}\n"
    "tiles: {size: 64, rounds: 2, iterations: 3}\nsnapshots: {every: 4, long_side: 80}\n"
)
EXACT = (
    "method: exact\npyramid: {smallest: 64, iterations: [5, 6]}\ntiles: {size: 64}\n"
    "objective: {content_layers: {relu1_1: 1}, style_layers: {relu1_1: 1}}\n"
    "compute: {precision: float32}\nsnapshots: 2\n"
)
KILLED = """
import os, signal, sys
from pathlib import Path
from tilefarm import snapshots
from tilefarm.driver import render, run_folder
from tilefarm.execute.open import ExecutorChoice
from tilefarm.spec.load import load_job

job, left = load_job(Path(sys.argv[1])), int(sys.argv[3])
write = snapshots.write_snapshot

def dying(*arguments):
    global left
    left -= 1
    if left == 0 and sys.argv[2] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

snapshots.write_snapshot = dying
render(job, run_folder(job, Path(sys.argv[1]).parent / "runs"), ExecutorChoice("local"), lambda event: None)
"""


def write_job(folder: Path, more: str, width: int = 100, height: int = 75) -> Path:
    generator = np.random.default_rng(4)
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=-1)
    Image.fromarray(smooth.astype(np.uint8)).save(folder / "content.png")
    style = generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(style).save(folder / "style.png")
    path = folder / "job.yaml"
    path.write_text(f"content: content.png\nstyle: style.png\noutput: {{path: out.tif}}\n{more}")
    return path


def go_on(path: Path, *overrides: str, mixer: bool = False) -> tuple[RunDir, list[Event]]:
    job = load_job(path, overrides)
    run = run_folder(job, path.parent / "runs")
    events: list[Event] = []
    render(job, run, LOCAL, events.append, opener(Mixer()) if mixer else None)
    return run, events


def names(run: RunDir) -> list[str]:
    """What is in the folder, leftovers of killed drivers included, without what all names have."""
    return [
        path.name.removeprefix("level-").replace("-step-", " ").removesuffix(".jpg")
        for path in sorted(run.snapshots.iterdir())
    ]


def contents(run: RunDir) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.snapshots.iterdir())}


def steps(level: int, numbers: Sequence[int]) -> list[str]:
    return [f"{level:02} {number:07}" for number in numbers]


def pixels(path: Path) -> NDArray[np.float32]:
    with Image.open(path) as image:
        assert image.format == "JPEG"
        values: NDArray[np.float32] = np.asarray(image).astype(np.float32) / np.float32(255)
    return values


def canvas(run: RunDir, level: int, size: Size) -> NDArray[np.float32]:
    return np.clip(np.asarray(open_raw(run.canvas(level), size)), 0, 1)


# ---- feathered, on a stand-in -----------------------------------------------------------------------


def test_feathered_levels_keep_steps_where_they_are_whole_and_rounds_in_tiles(tmp_path: Path) -> None:
    run, _ = go_on(write_job(tmp_path, FEATHERED), mixer=True)
    assert names(run) == steps(0, [0, 4, 8, 10]) + steps(1, [0, 3, 6])
    assert [pixels(path).shape for path in sorted(run.snapshots.iterdir())] == [(38, 50, 3)] * 4 + [
        (60, 80, 3)
    ] * 3


def test_they_show_the_picture_at_its_step(tmp_path: Path) -> None:
    run, _ = go_on(write_job(tmp_path, FEATHERED), mixer=True)
    start, four, eight, end = (pixels(run.snapshot(0, step)) for step in (0, 4, 8, 10))
    np.testing.assert_allclose(end, canvas(run, 0, Size(50, 38)), atol=0.05)
    np.testing.assert_allclose(four, 0.6 * start + 0.4 * end, atol=0.04)  # as the stand-in goes
    np.testing.assert_allclose(eight, 0.2 * start + 0.8 * end, atol=0.04)
    last = pixels(run.snapshot(1, 6))
    whole = canvas(run, 1, Size(100, 75)).mean(axis=(0, 1))
    np.testing.assert_allclose(last.mean(axis=(0, 1)), whole, atol=0.01)


def test_without_the_key_there_are_none_and_the_picture_is_the_same(tmp_path: Path) -> None:
    path = write_job(tmp_path, FEATHERED)
    run, _ = go_on(path, mixer=True)
    picture = run.canvas(1).read_bytes()
    for file in (*run.root.rglob("*.f32"), run.journal, tmp_path / "out.tif"):
        file.unlink()
    for file in run.snapshots.iterdir():
        file.unlink()
    run.snapshots.rmdir()
    again, _ = go_on(path, "snapshots=0", mixer=True)
    assert again == run
    assert not run.snapshots.exists()
    assert run.canvas(1).read_bytes() == picture


@pytest.mark.parametrize("event", [3, 9, 16, 24, 31])
def test_a_killed_feathered_run_has_the_same_set(tmp_path: Path, event: int) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    undisturbed, events = go_on(write_job(tmp_path / "whole", FEATHERED), mixer=True)
    assert len(events) > 31
    path = write_job(tmp_path / "killed", FEATHERED)
    process = subprocess.run(
        [sys.executable, standins.__file__, path, path.parent / "runs", "--kill-at-event", str(event)],
        cwd=Path(standins.__file__).parents[1],
        capture_output=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    run, _ = go_on(path, mixer=True)
    assert contents(run) == contents(undisturbed)


# ---- exact, on a real network -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, list[Event]]:
    return go_on(write_job(tmp_path_factory.mktemp("exact"), EXACT))


def test_exact_levels_keep_steps(exact: tuple[RunDir, list[Event]]) -> None:
    run, events = exact
    assert names(run) == steps(0, [0, 2, 4, 5]) + steps(1, [0, 2, 4, 6])
    np.testing.assert_allclose(pixels(run.snapshot(0, 5)), canvas(run, 0, Size(50, 38)), atol=0.12)
    np.testing.assert_allclose(pixels(run.snapshot(1, 6)), canvas(run, 1, Size(100, 75)), atol=0.12)
    taken = [event for event in events if isinstance(event, StepTaken)]
    assert [event.iteration for event in taken] == [1, 2, 3, 4, 5, 6]


def test_the_points_between_lie_between(exact: tuple[RunDir, list[Event]]) -> None:
    """Both the worker's and the driver's differ from step to step, and come near to the end late."""
    run, _ = exact
    for level, numbers in ((0, (0, 2, 4, 5)), (1, (0, 2, 4, 6))):
        shown = [pixels(run.snapshot(level, step)) for step in numbers]
        assert all(not np.array_equal(one, other) for one, other in itertools.pairwise(shown))
        away = [float(np.abs(picture - shown[-1]).mean()) for picture in shown]
        assert 0 < away[2] < min(away[0], away[1])


@pytest.mark.parametrize(("when", "count"), [("before", 4), ("after", 4), ("before", 6), ("before", 3)])
def test_a_killed_exact_run_has_the_same_set(
    tmp_path: Path, exact: tuple[RunDir, list[Event]], when: str, count: int
) -> None:
    """Killed just before a snapshot is written, its step being committed, and just after."""
    path = write_job(tmp_path, EXACT)
    process = subprocess.run(
        [sys.executable, "-c", KILLED, path, when, str(count)], capture_output=True, check=False
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    run, _ = go_on(path)
    assert contents(run) == contents(exact[0])


def test_a_temporary_file_of_a_killed_driver_is_cleared(tmp_path: Path) -> None:
    path = write_job(tmp_path, FEATHERED)
    job = load_job(path)
    run = run_folder(job, tmp_path / "runs")
    run.snapshots.mkdir(parents=True)
    run.job.touch()
    (run.snapshots / ".level-00-step-0000004.jpg.77.part.jpg").write_bytes(b"half")
    assert go_on(path, mixer=True)[0] == run
    assert names(run)[0] == "00 0000000"
