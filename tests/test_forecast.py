"""The forecast's arithmetic, and what it says where there is too little memory."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from tests.prepared import prepared_job
from tilefarm.forecast import KeptPieces, busiest_pixels, forecast, work_factor
from tilefarm.spec.statistics import STATISTIC_NAMES

GIB = 2**30


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
    expected = forecast(prepared_job(1600, workers=1, precision="float32"), timed=False)
    assert [(kept.level, kept.pieces, kept.work_factor) for kept in expected.kept] == [
        (2, 2 * 2, 1.0),
        (3, 4 * 3, 1.0),
    ]
    assert expected.workers == 1
    assert expected.worker_bytes == expected.needs.worker_bytes + expected.kept[1].bytes_per_worker
    assert (expected.seconds, expected.shortage) == (None, None)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_tile_is_timed_whatever_is_compared(precision: str) -> None:
    """The stand-in for a painting has means, deviations and covariances, so that every loss is finite."""
    prepared = prepared_job(96, 96, workers=1, precision=precision)
    weights = tuple((name, 1.0) for name in STATISTIC_NAMES)
    objective = prepared.job.objective.model_copy(update={"style_statistics": weights})
    job = prepared.job.model_copy(update={"objective": objective})
    found = forecast(replace(prepared, job=job), timed=True)
    assert found.calibration is not None
    assert found.calibration.precision == precision
    assert found.seconds is not None
    assert found.seconds > 0


def test_less_memory_means_more_work_until_it_is_too_little() -> None:
    some = forecast(prepared_job(1600, workers=1, precision="float32", memory="4GiB"), timed=False)
    factor = some.kept[1].work_factor
    assert 1.0 < factor < 1.5
    assert some.worker_bytes <= 4 * GIB
    none = forecast(prepared_job(1600, workers=1, precision="float32", memory="1GiB"), timed=True)
    assert none.shortage is not None
    assert "need" in none.shortage


def test_the_busiest_worker_has_as_many_pieces_as_any_and_idle_ones_do_not_help() -> None:
    plan = prepared_job(6000, "auto").with_core(1536).plan
    kept = tuple(
        KeptPieces(level, pieces, 0, 0, 0, 1.5) for level, pieces in ((2, 1), (3, 4), (4, 4), (5, 12))
    )
    work = [level.evaluated_pixels for level in plan.levels]
    assert busiest_pixels(plan, kept, 1) == work[0] + work[1] + 1.5 * sum(work[2:])
    assert busiest_pixels(plan, kept, 5) == pytest.approx(
        work[0] + work[1] + 1.5 * (work[2] + work[3] / 4 + work[4] / 4 + work[5] * 3 / 12)
    )
