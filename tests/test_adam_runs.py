"""Adam's memory through tiles, rounds and levels: handed on, blended, enlarged, and safe from kills."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.killed import KILLED
from tests.remembering import Remembering
from tests.standins import opener
from tilefarm.adam_moments import enlarge_moments, gradients_before, hands_on
from tilefarm.driver import render, run_folder
from tilefarm.events import Event, RoundFinished, TileFinished
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Size
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.grid import Grid
from tilefarm.prepare import prepare
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

LOCAL = ExecutorChoice("local")


def write_job(folder: Path, method: str, optimizer: str = "{name: adam}", size: str = "") -> Path:
    generator = np.random.default_rng(4)
    for name, shape in (("content.png", (75, 100, 3)), ("style.png", (40, 60, 3))):
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    path = folder / "job.yaml"
    path.write_text(
        f"content: content.png\nstyle: style.png\noutput: {{path: out.tif{size}}}\nmethod: {method}\n"
        "pyramid: {smallest: 64, iterations: [3]}\ntiles: {size: 64, rounds: 2, iterations: 2}\n"
        f"optimizer: {optimizer}\n"
        "objective: {content_layers: {relu2_2: 1}, style_layers: {relu1_1: 1, relu2_1: 1}}\n"
        "compute: {precision: float32}\n"
    )
    return path


class Halt(Exception):  # noqa: N818
    """Ends a run in mid-work."""


def go_on(path: Path, worker: Remembering, stop_after: int | None = None) -> tuple[RunDir, list[Event]]:
    job = load_job(path)
    run = run_folder(job, path.parent / "runs")
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if len(events) == stop_after:
            raise Halt

    render(job, run, LOCAL, listen, opener(worker))
    return run, events


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Event], int]:
    path = write_job(tmp_path_factory.mktemp("adam"), "feathered", size=", width: 200")
    worker = Remembering()
    run, events = go_on(path, worker)
    kept = [path for number in range(3) for path in run.moments(number) if path.exists()]
    assert not kept, "when the picture is done, means are of no use to anyone"
    # level 0: 3 steps on the whole; level 1: two rounds of 2 steps; level 2 likewise
    assert sorted(set(worker.counts)) == [0, 3, 5, 7, 9]
    return run.canvas(2).read_bytes(), events, worker.solved


def in_the_last_round(events: list[Event]) -> int:
    """The number of the event that tells of the fifth tile of the finest level's second round."""
    tiles = [n for n, event in enumerate(events, 1) if isinstance(event, TileFinished) and event.level == 2]
    return tiles[len(tiles) // 2 + 4]


@pytest.mark.parametrize("plane", [0, 1])
def test_damaged_means_are_noticed_and_made_again(
    tmp_path: Path, undisturbed: tuple[bytes, list[Event], int], plane: int
) -> None:
    canvas, events, solved = undisturbed
    path = write_job(tmp_path, "feathered", size=", width: 200")
    at = in_the_last_round(events)
    first, second = Remembering(), Remembering()
    with pytest.raises(Halt):
        go_on(path, first, stop_after=at)
    run = run_folder(load_job(path), tmp_path / "runs")
    data = bytearray(run.moments(2)[plane].read_bytes())
    data[1000] ^= 4
    run.moments(2)[plane].write_bytes(data)
    go_on(path, second)
    assert run.canvas(2).read_bytes() == canvas
    assert first.solved + second.solved > solved, "the level in progress began again"


def test_a_flipped_bit_in_a_tile_s_means_costs_that_tile(
    tmp_path: Path, undisturbed: tuple[bytes, list[Event], int]
) -> None:
    canvas, events, solved = undisturbed
    path = write_job(tmp_path, "feathered", size=", width: 200")
    at = in_the_last_round(events)
    first, second = Remembering(), Remembering()
    with pytest.raises(Halt):
        go_on(path, first, stop_after=at)
    run = run_folder(load_job(path), tmp_path / "runs")
    with run.tiles.open("r+b") as file:
        file.seek((2 * 3 + 2) * 64 * 64 * 12 + 40)  # tile 2, the mean square
        file.write(b"\x01")
    go_on(path, second)
    assert run.canvas(2).read_bytes() == canvas
    assert first.solved + second.solved == solved + 1


def level(index: int, grid: Grid) -> LevelPlan:
    return LevelPlan(index, grid, 1, 5, ())


def test_means_are_enlarged_for_a_finer_level(tmp_path: Path) -> None:
    """Whole levels of 32x32 and 64x64 with their borders: a pixel's share falls to (64 / 96)^2."""
    run = RunDir(tmp_path)
    coarse, fine = (level(i, Grid.of(Size(side, side), 512)) for i, side in enumerate((32, 64)))
    gradient = np.full((32, 32, 3), -0.5, "<f4")
    square = np.zeros((32, 32, 3), "<f4")
    square[10:20, 10:20] = 4.0  # an edge: a cubic filter leads below 0 beside it
    gradient.tofile(run.moments(0)[0])
    square.tofile(run.moments(0)[1])
    enlarge_moments(run, coarse, fine)
    ratio = (64 / 96) ** 2
    found = [np.fromfile(path, "<f4").reshape(64, 64, 3) for path in run.moments(1)]
    np.testing.assert_allclose(found[0], -0.5 * ratio, rtol=1e-6)
    assert found[1].min() == 0
    assert found[1].max() == pytest.approx(4 * ratio**2, rel=1e-6)
    assert found[1].mean() == pytest.approx(square.mean() * ratio**2, rel=1e-3)


def test_gradients_are_counted_from_the_plan(tmp_path: Path) -> None:
    plan = prepare(load_job(write_job(tmp_path, "feathered", size=", width: 200"))).plan
    assert [gradients_before(plan, level) for level in plan.levels] == [0, 3, 7]
    assert gradients_before(plan, plan.levels[2], 1) == 9
    assert [hands_on(plan, plan.levels[2], number) for number in (0, 1)] == [True, False]
    assert hands_on(plan, plan.levels[1], 1)


@pytest.mark.parametrize(
    ("method", "optimizer", "kills"),
    [
        ("exact", "{name: adam}", (14, 16)),
        ("exact", "{name: cg}", (35,)),
        ("feathered", "{name: adam, averaging: 0.5}", (25,)),
    ],
)
def test_a_killed_run_on_real_features_ends_in_the_same_picture(
    tmp_path: Path, method: str, optimizer: str, kills: tuple[int, ...]
) -> None:
    canvases = []
    for name, kill in (("undisturbed", ()), ("killed", kills)):
        folder = tmp_path / name
        folder.mkdir()
        path = write_job(folder, method, optimizer)
        for event in kill:
            process = subprocess.run(
                [sys.executable, "-c", KILLED, path, str(event)], capture_output=True, text=True, check=False
            )
            assert process.returncode == -signal.SIGKILL, process.stderr
        job = load_job(path)
        run = run_folder(job, folder / "runs")
        losses: list[Event] = []
        render(job, run, LOCAL, losses.append)
        finished = [event for event in losses if isinstance(event, RoundFinished)]
        assert finished[-1].loss_last < finished[-1].loss_first
        canvases.append(run.canvas(1).read_bytes())
    assert canvases[0] == canvases[1]


def test_means_go_when_a_driver_died_right_after_the_export(
    tmp_path: Path, undisturbed: tuple[bytes, list[Event], int]
) -> None:
    path = write_job(tmp_path, "feathered", size=", width: 200")
    run, _ = go_on(path, Remembering())
    left = [run.moments(0)[0], run.moments(1)[1]]
    for mean in left:
        mean.write_bytes(b"left behind")
    picture = run.canvas(2).read_bytes()
    worker = Remembering()
    go_on(path, worker)
    assert not any(mean.exists() for mean in left)
    assert (run.canvas(2).read_bytes(), worker.solved) == (picture, 0)
    assert picture == undisturbed[0]


def test_a_done_run_without_means_is_painted_again_where_its_canvas_is_damaged(
    tmp_path: Path, undisturbed: tuple[bytes, list[Event], int]
) -> None:
    path = write_job(tmp_path, "feathered", size=", width: 200")
    run, _ = go_on(path, Remembering())
    data = bytearray(run.canvas(2).read_bytes())
    data[1000] ^= 1
    run.canvas(2).write_bytes(data)
    worker = Remembering()
    go_on(path, worker)
    assert worker.solved == undisturbed[2]
    assert run.canvas(2).read_bytes() == undisturbed[0]
