"""The plan and the status of runs as text."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from tilefarm.forecast import Forecast, KeptPieces
from tilefarm.geometry import Size
from tilefarm.plan.build import RenderPlan, build_plan
from tilefarm.plan.estimate import Needs
from tilefarm.report.tables import effective_status, forecast_lines, plan_table, status_lines
from tilefarm.spec.model import Job, Style
from tilefarm.spec.output import Output


def record(status: str, message: str | None = None) -> dict[str, Any]:
    sizes = ({"width": 188, "height": 141}, {"width": 375, "height": 281})
    done = {"rounds": 1, "rounds_done": 1, "loss_first": 1234.5, "loss_last": 67.8}
    begun = {"rounds": 3, "rounds_done": 0, "loss_first": None, "loss_last": None}
    return {
        "status": status,
        "message": message,
        "width": 375,
        "height": 281,
        "seconds": 185.0,
        "output": "/out/gate.tif",
        "levels": [sizes[0] | done, sizes[1] | begun],
    }


def test_a_run_that_nobody_started() -> None:
    assert status_lines("runs/a", None, locked=False) == ["runs/a: not started"]


def test_a_run_in_progress() -> None:
    assert status_lines("runs/a", record("running", "of an earlier session"), locked=True) == [
        "runs/a: running, 375x281, 3 min 05 s of work",
        "  level 1, 188x141: 1 of 1 rounds, loss 1234 -> 67.8",
        "  level 2, 375x281: 0 of 3 rounds",
    ]


def test_a_run_whose_driver_was_killed_is_interrupted() -> None:
    lines = status_lines("runs/a", record("running"), locked=False)
    assert lines[0] == "runs/a: interrupted, 375x281, 3 min 05 s of work"
    assert lines[-1] == "  resume with: tilefarm resume runs/a"


def test_an_exact_level_in_progress_tells_its_step() -> None:
    running = record("running")
    running["levels"][1] |= {"steps_done": 12, "iterations": 50}
    assert status_lines("runs/a", running, locked=True)[-1].endswith("0 of 3 rounds, step 12 of 50")


def test_a_finished_run_names_its_output() -> None:
    lines = status_lines("runs/a", record("done"), locked=False)
    assert lines[0].startswith("runs/a: done, ")
    assert lines[-1] == "  output /out/gate.tif"


def test_a_failed_run_says_why_and_how_to_go_on() -> None:
    lines = status_lines("runs/a", record("failed", "tile 3 failed 3 times"), locked=False)
    assert lines[1] == "  tile 3 failed 3 times"
    assert lines[-1] == "  resume with: tilefarm resume runs/a"


@pytest.mark.parametrize(
    ("status", "locked", "shown"),
    [
        ("running", True, "running"),
        ("running", False, "interrupted"),
        ("done", False, "done"),
        ("done", True, "done"),
        ("failed", False, "failed"),
        ("cancelled", False, "cancelled"),
    ],
)
def test_only_a_lock_makes_a_run_running(status: str, locked: bool, shown: str) -> None:
    assert effective_status({"status": status}, locked) == shown


def test_the_plan_has_one_row_per_level() -> None:
    job = Job(
        name="gate",
        content=Path("/in/gate.jpg"),
        styles=(Style(image=Path("/in/night.jpg")),),
        output=Output(path=Path("/out/gate.tif"), width=6000),
        method="feathered",
    )
    stream = StringIO()
    Console(file=stream, width=120).print(plan_table(build_plan(job, Size(1200, 900), [Size(9, 9)])))
    heading, *rows = (re.split(r"  +", line.strip()) for line in stream.getvalue().splitlines())
    assert heading == ["level", "size", "tiles", "tile", "padding", "rounds", "iterations"]
    assert rows[0] == ["1", "188x141", "whole", "220x173", "16+16, 16+16", "1", "300"]
    # 25 tiles of 512 at stride 256 reach over 6656 pixels, 656 more than there are
    assert rows[-1] == ["6", "6000x4500", "25x19=475", "512x512", "328+328, 310+310", "3", "30"]
    assert len(rows) == 6


def test_the_forecast_is_said_in_units_for_people() -> None:
    plan = cast(RenderPlan, None)
    required = Needs(worker_bytes=3 * 2**29, driver_bytes=400 * 2**20, disk_bytes=5 * 2**30, flop=2.5e15)
    expected = Forecast(plan, required, 1, (), required.worker_bytes, None, None, None)
    assert forecast_lines(expected) == [
        "disk    5.0 GiB in the run folder, the output included",
        "memory  1.5 GiB for the one worker (at least 1.5 GiB), 400 MiB for the driver",
        "work    2500.0 TFLOP",
        "time    not estimated (--no-calibrate)",
    ]
    (*_, time) = forecast_lines(replace(expected, seconds=7800.0))
    assert time == "time    about 2 h 10 min on this machine, from timing one real tile"
    (*_, refused) = forecast_lines(replace(expected, shortage="too little"))
    assert refused == "refused too little"


def test_the_forecast_says_what_exact_levels_keep() -> None:
    plan = cast(RenderPlan, None)
    required = Needs(worker_bytes=3 * 2**29, driver_bytes=400 * 2**20, disk_bytes=5 * 2**30, flop=2.5e15)
    kept = (KeptPieces(2, 4, 4, 4, 2**30, 1.0), KeptPieces(3, 12, 12, 6, 2**31, 1.25))
    lines = forecast_lines(Forecast(plan, required, 2, kept, 7 * 2**29, None, None, None))
    assert lines[1] == "memory  3.5 GiB for each of 2 workers (at least 1.5 GiB), 400 MiB for the driver"
    assert lines[2:4] == [
        "exact   level 3: of 4 pieces, 4 keep their content's features in memory, and 4 their graph between "
        "the passes",
        "exact   level 4: of 12 pieces, 12 keep their content's features in memory, and 6 their graph "
        "between the passes; the rest is computed again, 1.25 times the work",
    ]
