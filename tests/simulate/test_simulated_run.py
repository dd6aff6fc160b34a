"""Whole runs in simulated time: multiplied where alike, spread by failures, and what limits them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.simulate.test_simulated_pass import QUICK, crew, equal, worker
from tilefarm.simulate.crew import SimCrew
from tilefarm.simulate.engine import NOTICED_SECONDS, run_once
from tilefarm.simulate.farm_file import Driver
from tilefarm.simulate.run import simulate
from tilefarm.simulate.verdict import changes, verdict
from tilefarm.simulate.work import Chores, Item, LevelWork, Pass, Stage
from tilefarm.simulate.world import World

START = QUICK.model_copy(update={"start_seconds": 0.0})


def painted(repeats: int, chores: Chores | None = None, tiles: int = 4) -> list[LevelWork]:
    stage = Stage("painting", (Pass("solve", equal(tiles)),), chores or Chores(), repeats)
    return [LevelWork(0, 100, (stage,))]


def test_rounds_are_multiplied() -> None:
    found = simulate(painted(7), crew(worker(), worker()), START)
    assert found.seconds == pytest.approx(7 * 20.0)
    assert found.totals.working == pytest.approx(7 * 40.0)
    assert [stage.repeats for stage in found.stages] == [7]


def test_first_calls_are_not_multiplied() -> None:
    """Of the second worker too, which has nothing to do in the stage before."""
    one = LevelWork(0, 100, (Stage("preparing", (Pass("solve", equal(1)),)),))
    crew_of_two = crew(worker(first=5.0), worker(first=5.0))
    found = simulate([one, *painted(10)], crew_of_two, START)
    assert found.seconds == pytest.approx(10 + 5 + 10 * 20 + 5)


def test_a_worker_that_joins_shortens_the_rounds_after() -> None:
    """Rounds of 40 s; the second worker is there at 90, in the third, when two tiles of it are done."""
    found = simulate(painted(5), crew(worker(), worker(joins=90.0)), START)
    assert [stage.totals.seconds for stage in found.stages] == pytest.approx([80.0, 30.0, 40.0])
    assert found.seconds == pytest.approx(80 + 30 + 20 + 20)


def test_what_the_driver_does_alone() -> None:
    """12 MB of vectors at 2 MB/s while they fit, and at 1 MB/s from the disk; 6 MB are waited for."""
    driver = START.model_copy(
        update={"vectors_mb_s": 2.0, "disk_mb_s": 1.0, "memory_gib": 1.0, "megapixels_s": 3.0}
    )
    fits = Chores(pixels=9e6, vectors=12e6, resident=2.0**30, synced=6e6)
    found = simulate(painted(1, fits), crew(worker()), driver)
    assert found.seconds == pytest.approx(40 + 3 + 6 + 6)
    found = simulate(painted(1, replace(fits, resident=2.0**30 + 1)), crew(worker()), driver)
    assert found.seconds == pytest.approx(40 + 3 + 12 + 6)


def flaky(rate_per_hour: float) -> SimCrew:
    return crew(*[replace(worker(restart=30.0), failures_per_second=rate_per_hour / 3600)] * 2)


def test_failures_make_it_longer_and_draws_differ() -> None:
    quiet = simulate(painted(50), flaky(0.0), START)
    assert len(set(quiet.drawn(20))) == 1
    found = simulate(painted(50), flaky(10.0), START)
    assert found.seconds == pytest.approx(quiet.seconds)
    drawn = found.drawn(20)
    assert drawn == sorted(drawn)
    assert drawn[10] > quiet.seconds
    assert len(set(drawn)) > 5
    assert found.drawn(20) == drawn
    # 1000 s, 2 workers, 10 an hour each: 5.6 failures are expected, and each costs 30 s at most
    assert drawn[10] < quiet.seconds + 3 * 5.6 * 30


def test_more_failures_take_longer() -> None:
    few, many = (simulate(painted(50), flaky(rate), START).drawn(20)[10] for rate in (2.0, 60.0))
    assert many > few


def run_through(stage: Stage, some: SimCrew, seed: int) -> float:
    """Seconds of all repetitions, one after the other, on one world with failures at random times."""
    random = np.random.default_rng(seed)
    found = World(some, START)
    lost = [
        (float(at), number)
        for number, each in enumerate(some.workers)
        for at in np.cumsum(random.exponential(1 / each.failures_per_second, 50))
    ]
    found.failures = sorted(lost)
    for _ in range(stage.repeats):
        run_once(found, stage)
    return found.now


@pytest.mark.parametrize("restart", [60.0, 300.0])
def test_failures_cost_what_they_cost_in_all_repetitions(restart: float) -> None:
    """A worker that is away for longer than a repetition is missing in the next ones too."""
    some = crew(*[replace(worker(restart=restart), failures_per_second=6 / 3600)] * 2)
    stage = Stage("painting", (Pass("solve", equal(2, 2.0)),), repeats=600)
    drawn = simulate([LevelWork(0, 100, (stage,))], some, START).drawn(31)
    through = sorted(run_through(stage, some, seed) for seed in range(15))
    assert drawn[15] == pytest.approx(through[7], rel=0.12)
    extra = [sum(each) / len(each) - 1200 for each in (drawn, through)]
    assert extra[0] == pytest.approx(extra[1], rel=0.35)
    assert drawn[15] > 1200 + 2 * restart / 2


def test_who_never_comes_back_costs_no_more_than_the_rest_of_the_stage() -> None:
    """Rounds of four tiles on four workers take 10 s with all, and 20 s with three."""
    some = crew(*[replace(worker(), failures_per_second=0.1 / 3600)] * 4)
    (stage,) = simulate(painted(50), some, START).stages
    assert all(10 < seconds <= 20 + 10 + 50 * 10 for seconds in stage.disturbed)
    assert sum(stage.disturbed) / len(stage.disturbed) == pytest.approx(10 + 25 * 10, rel=0.2)


def test_vectors_with_the_workers_wait_for_nobody_but_take_longer() -> None:
    """Arithmetic on vectors in two shares of 10 s takes one worker 20 s: half of its absence is lost."""
    shares = tuple(Item(index, 100, 1, 0.0, 0, 0, vectors=1.5e10) for index in range(2))
    stage = Stage("painting", (Pass("core", shares),), repeats=100, kept=1, most_kept=0.05, held=1)
    mean = []
    for restart in (0.0, 100.0):
        some = crew(*[replace(worker(restart=restart), failures_per_second=1 / 3600)] * 2)
        (found,) = simulate([LevelWork(0, 100, (stage,))], some, START).stages
        mean.append(sum(found.disturbed) / len(found.disturbed))
    assert mean[1] - mean[0] == pytest.approx(50.0, abs=12.0)


def test_where_vectors_lie_with_the_workers_a_loss_costs_what_was_done_since_they_were_kept() -> None:
    """Rounds of 20 s. To keep 1 MB takes 2 s, so it is done after every 40 s; to hand out 6 MB takes 12 s."""
    driver = START.model_copy(update={"link_mbit": 8.0, "disk_mb_s": 1.0, "vectors_mb_s": 1.0})
    (level,) = painted(50)
    held = replace(level.stages[0], kept=10**6, most_kept=0.05, held=6 * 10**6)
    (stage,) = simulate([replace(level, stages=(held,))], flaky(1.0), driver).stages
    one = 20.0 + 0.05 * 20.0
    least = one + NOTICED_SECONDS + 2 * 12 + 2
    assert all(least <= seconds <= least + one + 2 / 0.05 for seconds in stage.disturbed)
    assert max(stage.disturbed) > min(stage.disturbed)


def test_at_most_the_whole_stage_is_done_again() -> None:
    driver = START.model_copy(update={"link_mbit": 8.0, "disk_mb_s": 1.0, "vectors_mb_s": 1.0})
    (level,) = painted(3)
    held = replace(level.stages[0], kept=10**9, most_kept=0.05, held=1)
    (stage,) = simulate([replace(level, stages=(held,))], flaky(5.0), driver).stages
    assert len(stage.disturbed) > 3
    most = 2 * 21.0 + 21.0 + 21.0 + 2000 + NOTICED_SECONDS  # two rounds before, this one twice, and keeping
    most += 30.0  # and the worker is away
    assert all(2000 < seconds <= most for seconds in stage.disturbed)


@pytest.mark.parametrize(
    ("chores", "update", "limit", "saved"),
    [
        (Chores(), {}, "workers", 0.5),
        (Chores(vectors=360e6), {"vectors_mb_s": 1.0}, "vectors", 0.45),
        (Chores(synced=360e6), {"disk_mb_s": 1.0}, "disk", 0.45),
        (Chores(pixels=360e6), {"megapixels_s": 1.0}, "pictures", 0.45),
        (
            Chores(vectors=360e6, resident=2.0**35),
            {"vectors_mb_s": 100.0, "disk_mb_s": 1.0},
            "memory",
            0.891,
        ),
    ],
)
def test_what_limits(chores: Chores, update: dict[str, float], limit: str, saved: float) -> None:
    driver: Driver = START.model_copy(update=update)
    some = crew(worker())
    levels = painted(1, chores)
    found = changes(levels, some, driver, simulate(levels, some, driver))
    assert found[0].what == limit
    assert found[0].saved == pytest.approx(saved)
    assert f"{saved:.0%} less time" in verdict(found)


def test_a_slow_link_limits() -> None:
    some = crew(worker(), links=(1e9,))
    levels = [LevelWork(0, 1, (Stage("painting", (Pass("solve", equal(10, 0.01, sent=10**6)),)),))]
    driver = START.model_copy(update={"link_mbit": 8.0})
    found = changes(levels, some, driver, simulate(levels, some, driver))
    assert found[0].what == "network"
    assert found[0].saved == pytest.approx(0.5, abs=0.01)


def test_nothing_stands_out() -> None:
    levels = painted(1, tiles=1)
    some, driver = crew(worker(speed=100.0)), START.model_copy(update={"start_seconds": 100.0})
    assert verdict(changes(levels, some, driver, simulate(levels, some, driver))).startswith("nothing")
