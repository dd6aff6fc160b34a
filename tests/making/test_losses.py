"""The losses of a run as a table and as a plot, from folders that were written by hand and by real runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from tests.standins import Mixer, opener
from tilefarm.cli import app
from tilefarm.driver import render, run_folder
from tilefarm.errors import JobError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.making.chart import Axes, axes_of, colour_of
from tilefarm.making.losses import LevelLosses, LossPoint, read_losses, write_losses
from tilefarm.rundir.journal import Journal, RoundDone, TileDone
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

STEPS = 40


def level(width: int, height: int, tiles: int, rounds: int, iterations: int) -> dict[str, int]:
    return {"width": width, "height": height, "tiles": tiles, "rounds": rounds, "iterations": iterations}


def weighted(total: float) -> dict[str, float]:
    return {"total": total, "content": 0.3 * total, "style": 0.6 * total, "tv": 0.1 * total}


def fall(step: int) -> float:
    return 900.0 * 0.9**step + 10


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """An exact level of 40 steps, and one of four tiles in two rounds of which the second is under way."""
    run = RunDir(tmp_path)
    plan = {"levels": [level(100, 75, 1, 1, STEPS), level(200, 150, 4, 2, 30)]}
    run.plan.write_text(json.dumps(plan))
    events: list[dict[str, Any]] = [
        {
            "event": "StepTaken",
            "level": 0,
            "iteration": step,
            "accepted": step != 7,
            "weighted": weighted(fall(step)),
        }
        for step in range(1, STEPS + 1)
    ]
    with Journal(run.journal) as journal:
        done = {"canvas_crc": 0, "seconds": 1.0}
        journal.append(RoundDone(level=0, round=0, loss_first=910, loss_last=fall(STEPS), **done))  # type: ignore[arg-type]
        for number, tiles in ((0, 4), (1, 3)):
            for tile in range(tiles):
                last = 100.0 / (number + 1) + 40 * tile
                events.append(
                    {
                        "event": "TileFinished",
                        "level": 1,
                        "round": number,
                        "tile": tile,
                        "weighted": weighted(last),
                    }
                )
                journal.append(
                    TileDone(
                        level=1,
                        round=number,
                        tile=tile,
                        crc=0,
                        loss_first=200.0 / (number + 1) + 40 * tile,
                        loss_last=last,
                        rollbacks=0,
                        attempts=1,
                    )
                )
    text = "".join(json.dumps(event) + "\n" for event in events)
    run.events.write_text(text + '{"event": "StepTaken", "level": 0, "iter')  # torn by a kill
    return run


def test_the_points_of_a_curve(run: RunDir) -> None:
    first, _ = read_losses(run)
    assert (first.level, first.width, first.height, first.steps) == (1, 100, 75, STEPS)
    assert [point.step for point in first.points] == [0, *(s for s in range(1, STEPS + 1) if s != 7)]
    assert first.points[0] == LossPoint(1, 0, 910)
    assert first.points[-1].total == fall(STEPS)
    assert first.points[5].style == pytest.approx(0.6 * fall(5))


def test_tiles_have_a_median_and_a_range(run: RunDir) -> None:
    _, second = read_losses(run)
    begin, end, begin_again, end_again = second.points
    assert second.steps == 60
    assert (begin.step, begin.total, begin.lowest, begin.highest) == (0, 260, 200, 320)
    assert (end.step, end.total) == (30, 160)
    assert end.content == pytest.approx(0.3 * 160)
    assert (begin_again.step, begin_again.total) == (30, 140)
    assert (end_again.step, end_again.total, end_again.lowest, end_again.highest) == (60, 90, 50, 130)


def test_events_that_were_lost_leave_start_and_end(run: RunDir) -> None:
    run.events.unlink()
    first, second = read_losses(run)
    assert [(point.step, point.total) for point in first.points] == [(0, 910), (STEPS, fall(STEPS))]
    assert [point.total for point in second.points] == [260, 160, 140, 90]
    assert all(point.style is None for point in second.points)


def test_the_table(run: RunDir) -> None:
    count = write_losses(run)
    with run.loss_table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count == STEPS + 4
    assert list(rows[0]) == ["level", "step", "total", "content", "style", "tv", "lowest", "highest"]
    assert float(rows[10]["total"]) == pytest.approx(fall(int(rows[10]["step"])))
    assert (rows[-1]["level"], rows[-1]["lowest"]) == ("2", "50.0")


def is_near(pixel: NDArray[np.int64], colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel - np.array(colour)).max() < 60)


def test_the_plot_shows_the_curve_where_the_data_are(run: RunDir) -> None:
    write_losses(run)
    with Image.open(run.losses) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (1600, 900), "RGB")
        pixels = np.asarray(image).astype(np.int64)
    levels = read_losses(run)
    axes, colour = axes_of(levels), colour_of(0, 2)
    for step in (5, 15, 25, 33):
        column = round(axes.x(0, step))
        here = round(axes.y(fall(step)))
        assert any(is_near(pixels[row, column], colour) for row in (here - 1, here, here + 1))
        rows = {round(axes.y(share * fall(step))) for share in (1, 0.6, 0.3, 0.1)}
        for row in range(160, int(axes.bottom) - 3):  # and nothing of that colour anywhere else
            if all(abs(row - other) > 6 for other in rows):
                assert not is_near(pixels[row, column], colour), (row, rows)
    for loss, inside in ((90, False), (125, True), (205, True), (235, False)):
        row, column = round(axes.y(loss)), round(axes.x(1, 30)) - 4
        tinted = [int(pixels[row + near, column].max() - pixels[row + near, column].min()) for near in (0, 3)]
        assert (max(tinted) > 20) == inside, (loss, tinted)
    assert (pixels[:140] < 128).any()  # title and legend
    assert (pixels[800:] < 128).any()
    assert (pixels[200:700, :100] < 128).any()


def test_axes_are_logarithmic_and_hold_everything() -> None:
    points = tuple(LossPoint(1, step, value) for step, value in enumerate((1000.0, 100.0, 10.0)))
    axes = axes_of([LevelLosses(1, 10, 10, 2, points)])
    rows = [axes.y(point.total) for point in points]
    assert rows[1] - rows[0] == pytest.approx(rows[2] - rows[1])
    assert axes.y(1e-9) == axes.bottom
    assert axes.x(0, 2) - axes.x(0, 1) == pytest.approx(axes.width / 2)
    many = Axes(12, (1,) * 12, 1.0, 2.0)
    assert many.left(11) + many.width == pytest.approx(1570)


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_plot_of_next_to_nothing(tmp_path: Path, value: float) -> None:
    run = RunDir(tmp_path)
    run.plan.write_text(json.dumps({"levels": [level(1, 1, 1, 1, 1)] * 9}))
    with Journal(run.journal) as journal:
        journal.append(
            RoundDone(level=3, round=0, canvas_crc=0, seconds=0, loss_first=value, loss_last=value)
        )
    assert write_losses(run) == 2
    with Image.open(run.losses) as image:
        assert image.size == (1600, 900)


def test_what_is_no_run_and_what_has_none_yet(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is not a run folder"):
        write_losses(RunDir(tmp_path))
    RunDir(tmp_path).plan.write_text(json.dumps({"levels": [level(9, 9, 1, 1, 5)]}))
    with pytest.raises(JobError, match="has no losses yet"):
        write_losses(RunDir(tmp_path))


def test_a_feathered_run_draws_them_and_the_command_does_again(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    Image.fromarray(generator.integers(0, 256, (75, 100, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    path = tmp_path / "job.yaml"
    path.write_text(
        "content: a.png\nstyle: a.png\noutput: {path: out.png}\nmethod: feathered\nsnapshots: 100\n"
        "pyramid: {smallest: 64, iterations: [20]}\ntiles: {size: 64, rounds: 2, iterations: 3}\n"
    )
    job = load_job(path)
    run = run_folder(job, tmp_path / "runs")
    render(job, run, ExecutorChoice("local"), lambda event: None, opener(Mixer()))
    table = run.loss_table.read_bytes()
    first, second = read_losses(run)
    assert len(first.points) == 1 + 20  # the stand-in tells its losses of every step
    assert [point.step for point in second.points] == [0, 3, 3, 6]
    run.losses.unlink()
    run.loss_table.unlink()
    done = CliRunner().invoke(app, ["losses", str(run.root)])
    assert done.exit_code == 0, done.output
    assert run.loss_table.read_bytes() == table
    assert run.losses.exists()
    assert CliRunner().invoke(app, ["losses", str(tmp_path)]).exit_code == 2
