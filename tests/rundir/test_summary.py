"""run.json and plan.json: what scripts rely on."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import tilefarm
from tilefarm.plan.build import RenderPlan
from tilefarm.rundir.journal import Exported, LevelStarted, RoundDone, Started, TileDone
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.rundir.summary import STATUSES, plan_record, read_summary, summarize, write_summary
from tilefarm.spec.model import Color, Job

Make = Callable[..., Any]

DOCUMENTED = {
    "status",
    "output",
    "width",
    "height",
    "method",
    "network",
    "weights_sha256",
    "seconds",
    "levels",
    "peak_rss_bytes",
    "tile_retries",
    "versions",
}
DOCUMENTED_OF_A_LEVEL = {"width", "height", "tiles", "iterations", "loss_first", "loss_last", "seconds"}


@pytest.fixture
def state(line: Make) -> RunState:
    """One level done, one in its second round, one not begun."""
    return RunState.replay(
        [
            line(Started, weights_sha256="c0ffee", precision="bfloat16"),
            line(LevelStarted, level=0, seconds=1.0),
            line(TileDone, level=0, round=0, tile=0, attempts=2, rollbacks=1, gone_wrong=2),
            line(RoundDone, level=0, round=0, loss_first=100.0, loss_last=50.0, seconds=2.0),
            line(LevelStarted, level=1, seconds=4.0),
            line(RoundDone, level=1, round=0, loss_first=80.0, loss_last=40.0, seconds=8.0, gone_wrong=4),
            line(RoundDone, level=1, round=1, loss_first=39.0, loss_last=30.0, seconds=16.0),
            line(Exported, seconds=32.0),
        ]
    )


def test_the_colours_are_named_with_their_moment(job: Job, plan: RenderPlan) -> None:
    def told(**color: str) -> object:
        coloured = job.model_copy(update={"color": Color.model_validate(color)})
        return summarize(coloured, plan, RunState(), "done", 1, ())["color"]

    def color(mode: str, when: str | None, working_space: str = "srgb") -> object:
        return {"mode": mode, "when": when, "working_space": working_space}

    assert told() == color("style", None)
    assert told(mode="content_luma") == color("content_luma", "after")
    assert told(mode="statistics") == color("statistics", "before")
    assert told(mode="luminance") == color("luminance", None)
    assert told(mode="statistics", when="every_level") == color("statistics", "every_level")
    assert told(working_space="wide") == color("style", None, "wide")


def test_the_documented_keys_are_there(job: Job, plan: RenderPlan) -> None:
    record = summarize(job, plan, RunState(), "running", 1, ())
    assert record.keys() >= DOCUMENTED
    assert all(level.keys() >= DOCUMENTED_OF_A_LEVEL for level in record["levels"])
    assert record["peak_rss_bytes"].keys() == {"driver", "workers"}
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert set(STATUSES) == {"running", "done", "failed", "interrupted", "cancelled"}


def test_a_run_in_the_middle(job: Job, plan: RenderPlan, state: RunState) -> None:
    record = summarize(job, plan, state, "interrupted", 7, [8, 9], "stopped by SIGTERM")
    assert record["status"] == "interrupted"
    assert record["message"] == "stopped by SIGTERM"
    assert (record["output"], record["width"], record["height"]) == ("/out/gate.tif", 896, 672)
    assert (record["method"], record["network"]) == ("feathered", "vgg19")
    assert (record["weights_sha256"], record["precision"]) == ("c0ffee", "bfloat16")
    assert record["peak_rss_bytes"] == {"driver": 7, "workers": [8, 9]}
    assert (record["tile_retries"], record["rollbacks"], record["numbers_gone_wrong"]) == (1, 1, 6)
    assert record["seconds"] == 1 + 2 + 4 + 8 + 16 + 32
    assert [(level["width"], level["height"]) for level in record["levels"]] == [
        (224, 168),
        (448, 336),
        (896, 672),
    ]
    assert [level["seconds"] for level in record["levels"]] == [3.0, 28.0, 0.0]
    assert [(level["rounds_done"], level["rounds"]) for level in record["levels"]] == [(1, 1), (2, 3), (0, 3)]
    assert [(level["loss_first"], level["loss_last"]) for level in record["levels"]] == [
        (100.0, 50.0),
        (80.0, 30.0),
        (None, None),
    ]
    # a tile of 256 at stride 128: ceil(448 / 128) + 1 columns and ceil(336 / 128) + 1 rows, and so on
    assert [level["tiles"] for level in record["levels"]] == [1, 5 * 4, 8 * 7]
    assert [level["iterations"] for level in record["levels"]] == [300, 30, 30]


def test_versions_are_those_that_are_installed(job: Job, plan: RenderPlan) -> None:
    versions = summarize(job, plan, RunState(), "running", 1, ())["versions"]
    assert versions["tilefarm"] == tilefarm.__version__
    for name in ("torch", "ray", "numpy"):
        assert versions[name] == version(name)


def test_the_record_is_read_back(tmp_path: Path, job: Job, plan: RenderPlan, state: RunState) -> None:
    run = RunDir(tmp_path)
    assert read_summary(run) is None
    for status in ("running", "done"):
        record = summarize(job, plan, state, status, 1, [2])
        write_summary(run, record)
        assert read_summary(run) == record
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_the_plan_as_data(plan: RenderPlan) -> None:
    record = json.loads(json.dumps(plan_record(plan)))
    assert record["content"] == {"width": 1280, "height": 960}
    assert record["crop"] == [0, 0, 1280, 960]
    assert record["output"] == {"width": 896, "height": 672}
    assert record["tile_solves"] == 1 + 3 * (20 + 56)
    pixels = (224 + 32) * (168 + 32) * 300 + 256 * 256 * 90 * (20 + 56)
    assert record["evaluated_megapixels"] == pytest.approx(pixels / 1e6, abs=0.05)
    assert [level["whole"] for level in record["levels"]] == [True, False, False]
    for level in record["levels"]:
        assert level["columns"] * level["rows"] == level["tiles"]
        stride = level["tile_width"] // 2 if not level["whole"] else level["tile_width"]
        covered = stride * (level["columns"] - 1) + level["tile_width"]
        assert covered == level["padding"]["left"] + level["width"] + level["padding"]["right"]
    assert record["levels"][-1]["styles"] == [[896, 710]]
