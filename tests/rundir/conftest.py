"""Lines of a journal, and a job with its plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilefarm.geometry import Size
from tilefarm.plan.build import RenderPlan, build_plan
from tilefarm.rundir.journal import Exported, LevelStarted, RoundDone, Started, TileDone
from tilefarm.spec.model import Job, Style
from tilefarm.spec.output import Output

Make = Callable[..., Any]
_DEFAULTS: dict[type, dict[str, Any]] = {
    Started: {"version": "1", "weights_sha256": "ab", "precision": "float32", "batch": 1, "core": 512},
    LevelStarted: {"canvas_crc": 1, "targets_crc": 2, "seconds": 0.5},
    TileDone: {"crc": 3, "loss_first": 9.0, "loss_last": 1.0, "rollbacks": 0, "attempts": 1},
    RoundDone: {"canvas_crc": 4, "loss_first": 8.0, "loss_last": 2.0, "seconds": 1.5},
    Exported: {"path": "/a.tif", "crc": 7, "bit_depth": 16, "dpi": 300.0, "seconds": 0.25},
}


@pytest.fixture(scope="session")
def line() -> Make:
    """`line(TileDone, level=1, round=0, tile=5)`: what is not named has some value."""

    def make(kind: type, **fields: Any) -> Any:
        return kind(**(_DEFAULTS[kind] | fields))

    return make


@pytest.fixture(scope="session")
def job() -> Job:
    """896x672, tiles of 256: one level whole, two with tiles."""
    return Job.model_validate(
        {
            "name": "gate",
            "content": Path("/in/gate.jpg"),
            "styles": (Style(image=Path("/in/night.jpg")),),
            "output": Output(path=Path("/out/gate.tif"), width=896),
            "method": "feathered",
            "tiles": {"size": 256},
        }
    )


@pytest.fixture(scope="session")
def plan(job: Job) -> RenderPlan:
    return build_plan(job, Size(1280, 960), [Size(1280, 1014)])
