"""Which steps are kept as snapshots, and what room they need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilefarm.geometry import Size
from tilefarm.plan.build import RenderPlan, build_plan
from tilefarm.plan.frames import USUAL_FRAMES, last_step, making_bytes, snapshot_count, snapshot_steps
from tilefarm.spec.making import Animation, Snapshots
from tilefarm.spec.model import Job, Pyramid

MakeJob = Callable[..., Job]
FILM = Animation(path=Path("/out/film.gif"))

STEPS = Pyramid(iterations=(600, 400, 200, 100))


def plan_of(job: Job) -> RenderPlan:
    return build_plan(job, Size(1600, 1200), [Size(900, 900)])


def test_off_by_default(make_job: MakeJob) -> None:
    job = make_job({"width": 1600})
    assert set(snapshot_steps(job, plan_of(job))) == {0}
    assert snapshot_count(job, plan_of(job)) == 0
    assert making_bytes(job, plan_of(job)) == 0


@pytest.mark.parametrize("film", [None, FILM])
def test_the_number_that_is_given_holds_everywhere(make_job: MakeJob, film: Animation | None) -> None:
    job = make_job({"width": 1600}, snapshots=Snapshots(every=7), animation=film, method="exact")
    assert set(snapshot_steps(job, plan_of(job))) == {7}


@given(iterations=st.lists(st.integers(1, 2000), min_size=1, max_size=4))
def test_an_animation_asks_for_about_150(make_job: MakeJob, iterations: list[int]) -> None:
    job = make_job(
        {"width": 1600}, animation=FILM, method="exact", pyramid=Pyramid(iterations=tuple(iterations))
    )
    plan = plan_of(job)
    (every,) = set(snapshot_steps(job, plan))
    kept = sum(level.iterations // every for level in plan.levels)
    assert kept <= USUAL_FRAMES
    assert every == 1 or sum(level.iterations // (every - 1) for level in plan.levels) > USUAL_FRAMES - 4
    assert kept <= snapshot_count(job, plan) <= kept + 2 * len(plan.levels)


def test_one_level_alone(make_job: MakeJob) -> None:
    film = Animation(path=Path("/out/film.gif"), level=2)
    job = make_job({"width": 1600}, animation=film, method="exact", pyramid=STEPS)
    plan = plan_of(job)
    assert [level.iterations for level in plan.levels] == [600, 400, 200, 100]
    assert snapshot_steps(job, plan) == (0, 3, 0, 0)


def test_levels_in_tiles_count_their_rounds(make_job: MakeJob) -> None:
    job = make_job({"width": 1600}, animation=FILM, pyramid=STEPS)
    plan = plan_of(job)
    assert [level.grid.is_whole for level in plan.levels] == [True, True, False, False]
    (every,) = set(snapshot_steps(job, plan))
    assert every == 7  # (600 + 400) / (150 - 2 * 3)
    assert [last_step(level) for level in plan.levels] == [600, 400, 90, 90]
    assert snapshot_count(job, plan) == (2 + 85) + (2 + 57) + 2 * (2 + 3)


def test_the_room_for_them(make_job: MakeJob) -> None:
    job = make_job(
        {"width": 1600}, snapshots=Snapshots(every=100, long_side=800), method="exact", pyramid=STEPS
    )
    assert making_bytes(job, plan_of(job)) == (8 + 13) * 800 * 600
