"""The forecast's arithmetic, and what it says where there is too little memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from tilefarm.forecast import forecast, work_factor
from tilefarm.geometry import Size
from tilefarm.plan.build import build_plan
from tilefarm.prepare import Prepared
from tilefarm.spec.model import Job, Style
from tilefarm.spec.output import Output

GIB = 2**30


def prepared_job(**compute: Any) -> Prepared:
    job = Job.model_validate(
        {
            "name": "gate",
            "content": Path("/in/gate.jpg"),
            "styles": (Style(image=Path("/in/night.jpg")),),
            "output": Output.model_validate({"path": Path("/out/gate.tif"), "width": 1600}),
            "method": "exact",
            "compute": compute,
        }
    )
    plan = build_plan(job, Size(1200, 900), [Size(900, 900)])
    return cast(Prepared, SimpleNamespace(job=job, plan=plan))


@pytest.fixture(autouse=True)
def free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(available=64 * GIB, total=64 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


@pytest.mark.parametrize(
    ("contents", "graphs", "factor"),
    [
        (8, 8, 1.0),  # forward and backward
        (8, 0, 1.5),  # forward twice
        (8, 4, 1.25),
        (0, 8, 1.5),  # the content once, since it waits with the graph
        (0, 0, 2.5),  # the content in both passes
    ],
)
def test_what_is_not_kept_is_work(contents: int, graphs: int, factor: float) -> None:
    assert work_factor(8, contents, graphs) == factor


def test_the_forecast_of_a_machine_with_plenty() -> None:
    expected = forecast(prepared_job(workers=1, precision="float32"), timed=False)
    assert [(kept.level, kept.pieces, kept.work_factor) for kept in expected.kept] == [
        (2, 2 * 2, 1.0),
        (3, 4 * 3, 1.0),
    ]
    assert expected.workers == 1
    assert expected.worker_bytes == expected.needs.worker_bytes + expected.kept[1].bytes_per_worker
    assert (expected.seconds, expected.shortage) == (None, None)


def test_less_memory_means_more_work_until_it_is_too_little() -> None:
    some = forecast(prepared_job(workers=1, precision="float32", memory="6GiB"), timed=False)
    factor = some.kept[1].work_factor
    assert 1.0 < factor < 1.5
    assert some.worker_bytes <= 6 * GIB
    none = forecast(prepared_job(workers=1, precision="float32", memory="1GiB"), timed=True)
    assert none.shortage is not None
    assert "need" in none.shortage
