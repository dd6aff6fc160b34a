"""One pass in simulated time against times worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilefarm.execute.deadlines import Effort
from tilefarm.simulate.crew import Machine, SimCrew, SimWorker
from tilefarm.simulate.engine import run_pass
from tilefarm.simulate.farm_file import Driver
from tilefarm.simulate.work import Item, Pass
from tilefarm.simulate.world import World

QUICK = Driver(
    link_mbit=1e12, disk_mb_s=1e12, vectors_mb_s=1e12, pixels_mb_s=1e12, call_seconds=0, sync_seconds=0
)
NEVER = 1e9
MEGABYTE = 10**6


def crew(*workers: SimWorker, links: tuple[float | None, ...] = (None,), latency: float = 0) -> SimCrew:
    return SimCrew(workers, tuple(Machine(link, latency) for link in links), ())


def worker(
    speed: float = 1.0,
    machine: int = 0,
    call: float = 0,
    restart: float = NEVER,
    joins: float = 0,
    first: float = 0,
) -> SimWorker:
    return SimWorker(machine, speed, 1.5e9, call, first, 0.0, restart, joins)


def equal(count: int, seconds: float = 10.0, sent: int = 0, received: int = 0) -> tuple[Item, ...]:
    return tuple(Item(index, 100, 1, seconds, sent, received) for index in range(count))


def world(some: SimCrew, driver: Driver = QUICK) -> World:
    return World(some, driver)


@pytest.mark.parametrize(("tiles", "workers"), [(1, 1), (7, 1), (8, 4), (9, 4), (3, 8), (100, 7)])
def test_equal_tiles(tiles: int, workers: int) -> None:
    found = world(crew(*[worker()] * workers))
    run_pass(found, Pass("solve", equal(tiles)))
    assert found.now == pytest.approx(10.0 * math.ceil(tiles / workers))
    assert found.totals.working == pytest.approx(10.0 * tiles)
    assert found.totals.sent == found.totals.redone == 0


def test_a_call_costs_its_worker_something() -> None:
    found = world(crew(worker(speed=2.0, call=0.5)))
    run_pass(found, Pass("solve", equal(4)))
    assert found.now == pytest.approx(4 * (5 + 0.5))


def test_the_drivers_link_is_the_limit() -> None:
    """20 pictures of a megabyte through 8 Mbit/s: one a second, and the last is worked on after that."""
    driver = QUICK.model_copy(update={"link_mbit": 8.0})
    found = world(crew(*[worker(machine=n % 4) for n in range(8)], links=(1e9,) * 4), driver)
    run_pass(found, Pass("solve", equal(20, seconds=0.25, sent=MEGABYTE)))
    assert found.now == pytest.approx(20.25, abs=0.01)
    assert found.totals.sent == 20 * MEGABYTE
    assert found.totals.link_out == pytest.approx(20.0)
    assert found.totals.link_in == 0


def test_the_way_back_is_another() -> None:
    """Both ways at once: a picture comes back each second while the next goes out."""
    driver = QUICK.model_copy(update={"link_mbit": 8.0})
    found = world(crew(worker(), worker(), links=(1e9,)), driver)
    run_pass(found, Pass("solve", equal(10, seconds=0.0, sent=MEGABYTE, received=MEGABYTE)))
    assert found.now == pytest.approx(11.0, abs=0.01)


def test_a_machine_with_a_slow_link_holds_up_its_own_worker_alone() -> None:
    slow, fast = 0.5 * MEGABYTE, 1e9
    found = world(crew(worker(machine=0), links=(slow,), latency=0.1))
    run_pass(found, Pass("solve", equal(1, seconds=3.0, sent=MEGABYTE, received=MEGABYTE)))
    assert found.now == pytest.approx(2 + 0.1 + 3 + 2 + 0.1)
    both = world(crew(worker(machine=0), worker(machine=1), links=(slow, fast)))
    run_pass(both, Pass("solve", equal(2, seconds=3.0, sent=MEGABYTE)))
    assert both.now == pytest.approx(2 + 3, abs=0.01)


def test_what_all_share_goes_to_every_machine_once() -> None:
    found = world(crew(worker(), worker(), worker(machine=1), links=(1e9, 1e9)))
    run_pass(found, Pass("solve", equal(12), shared=500))
    assert found.totals.sent == 1000


def test_the_drivers_own_machine_has_no_link() -> None:
    found = world(crew(worker(), links=(None,)), QUICK.model_copy(update={"link_mbit": 0.001}))
    run_pass(found, Pass("solve", equal(3, sent=MEGABYTE, received=MEGABYTE)))
    assert found.now == pytest.approx(30.0)
    assert found.totals.sent == found.totals.received == 0


def test_the_driver_handles_one_picture_after_the_other() -> None:
    """A second for each to send and one to take: many fast workers wait for it."""
    driver = QUICK.model_copy(update={"pixels_mb_s": 1.0})
    found = world(crew(*[worker()] * 8), driver)
    run_pass(found, Pass("solve", equal(10, seconds=0.0, sent=MEGABYTE, received=MEGABYTE)))
    assert found.now == pytest.approx(20.0)
    assert found.totals.pixels == pytest.approx(20.0)


def test_results_wait_for_the_disk() -> None:
    driver = QUICK.model_copy(update={"disk_mb_s": 1.0, "sync_seconds": 0.5})
    found = world(crew(worker()), driver)
    items = tuple(Item(index, 1, 1, 0.0, 0, 0, synced=MEGABYTE) for index in range(4))
    run_pass(found, Pass("solve", items))
    assert found.now == pytest.approx(4 * 1.5)
    assert found.totals.disk == pytest.approx(4 * 1.5)


def test_a_lost_workers_tiles_are_done_by_the_other() -> None:
    """Two of ten seconds each were its own; suspected, they are done one at a time: until 20, 30, 40."""
    found = world(crew(worker(), worker()))
    found.failures = [(5.0, 1)]
    run_pass(found, Pass("solve", equal(4)))
    assert found.now == pytest.approx(40.0)
    assert found.totals.redone == 2
    assert found.totals.working == pytest.approx(40.0)
    assert found.present().up == [0]


@pytest.mark.parametrize(("restart", "seconds"), [(10.0, 40.0), (NEVER, 60.0)])
def test_a_lost_worker_that_comes_back_helps_again(restart: float, seconds: float) -> None:
    """The one that stays has two until 20, then those that were lost, until 40; two more are the other's."""
    found = world(crew(worker(), worker(restart=restart)))
    found.failures = [(5.0, 1)]
    run_pass(found, Pass("solve", equal(6)))
    assert found.now == pytest.approx(seconds)


def test_the_first_call_of_a_process_takes_longer() -> None:
    found = world(crew(worker(first=3.0)))
    run_pass(found, Pass("solve", equal(2)))
    run_pass(found, Pass("solve", equal(2)))
    assert found.now == pytest.approx(3 + 4 * 10.0)


def test_so_does_that_of_the_next_process() -> None:
    found = world(crew(worker(first=3.0, restart=20.0)))
    run_pass(found, Pass("solve", equal(1)))
    found.failures = [(14.0, 0)]
    found.now = 50.0
    run_pass(found, Pass("solve", equal(1)))
    assert found.now == pytest.approx(50 + 3 + 10)


def test_failures_while_nobody_works_cost_nothing() -> None:
    found = world(crew(worker(restart=20.0)))
    found.now = 100.0
    found.failures = [(50.0, 0)]
    run_pass(found, Pass("solve", equal(1)))
    assert found.now == pytest.approx(110.0)


def test_a_worker_that_joins() -> None:
    found = world(crew(worker(), worker(joins=15.0)))
    run_pass(found, Pass("solve", equal(4)))
    assert found.now == pytest.approx(30.0)


def test_a_farm_without_anybody_waits_for_the_first() -> None:
    found = world(crew(worker(joins=100.0)))
    run_pass(found, Pass("solve", equal(1)))
    assert found.now == pytest.approx(110.0)


def test_pieces_are_shared_out_by_speed() -> None:
    """Of twelve, nine are best with the one that is three times as fast; a quarter more time is let be."""
    found = world(crew(worker(speed=1.0), worker(speed=3.0)))
    sums = Pass("piece_sums", tuple(replace(item, full=None) for item in equal(12)), level="fine")
    for _ in range(3):
        began = found.now
        run_pass(found, sums)
    assert 30.0 <= found.now - began <= 1.25 * 30.0
    assert [found.homes.of(index, "fine", Effort("x", 1), [0, 1]) for index in range(12)].count(1) >= 8


@pytest.mark.parametrize("at", [3, 6])  # by then the paces are known
@pytest.mark.parametrize("hitch", [13.0, 26.0, 39.0])
def test_a_hitch_costs_its_own_pass_alone(at: int, hitch: float) -> None:
    """Who has helped is late for its own piece in the next pass, and must not be helped for that."""
    items = tuple(replace(item, full=replace(item, pixel_steps=20.0)) for item in equal(2))
    found, work = world(crew(worker(), worker())), Pass("piece_sums", items, level="fine")
    seconds = []
    for number in range(10):
        began = found.now
        found.free[1] += hitch if number == at else 0.0
        run_pass(found, work)
        seconds.append(found.now - began)
    assert seconds[at] == pytest.approx(10 + hitch)
    assert seconds[1:at] + seconds[at + 1 :] == pytest.approx([10.0] * 8)


@pytest.mark.parametrize("hitch", [26.0, 39.0, 80.0])
def test_a_hitch_in_a_first_call_takes_no_worker_out_of_the_level(hitch: float) -> None:
    """It is tried again, as one that is as fast as the other."""
    items = tuple(replace(item, full=replace(item, pixel_steps=20.0)) for item in equal(2))
    found, work = world(crew(worker(), worker())), Pass("piece_sums", items, level="fine")
    seconds = []
    for number in range(30):
        began = found.now
        found.free[1] += hitch if number in (1, 2) else 0.0
        run_pass(found, work)
        seconds.append(found.now - began)
    assert seconds[-10:] == pytest.approx([10.0] * 10)


def test_what_a_lost_worker_kept_is_sent_to_another_in_full() -> None:
    """2 s for a piece that is kept and 5 s for one that is not. Each keeps two of four; one is lost."""
    in_full = equal(4, seconds=5.0, sent=7)
    kept = tuple(replace(item, pixel_steps=2.0, sent=1, full=item) for item in in_full)
    sums, slopes = Pass("piece_sums", kept, level="fine"), Pass("piece_gradient", kept, level="fine")
    found = world(crew(worker(), worker(), links=(1e9,)))
    run_pass(found, sums)
    assert found.now == pytest.approx(10.0)  # nothing was kept yet
    run_pass(found, slopes)
    assert found.now == pytest.approx(14.0)
    assert found.totals.sent == 4 * 7 + 4 * 1
    found.failures = [(14.5, 1)]
    run_pass(found, sums)
    assert found.totals.redone == 2
    assert found.now == pytest.approx(14.0 + 2 * 2.0 + 2 * 5.0)
    assert found.totals.sent == 4 * 7 + 4 * 1 + 4 * 1 + 2 * 7
    began = found.now
    run_pass(found, slopes)
    assert found.now - began == pytest.approx(8.0)  # the other has all of them now


@given(
    st.lists(st.floats(0.1, 50.0), min_size=1, max_size=40),
    st.lists(st.floats(0.2, 5.0), min_size=1, max_size=6),
)
def test_no_work_is_lost_and_none_is_free(sizes: list[float], speeds: list[float]) -> None:
    items = tuple(Item(index, 100, 1, size, 0, 0) for index, size in enumerate(sizes))
    found = world(crew(*[worker(speed) for speed in speeds]))
    run_pass(found, Pass("solve", items))
    least = max(sum(sizes) / sum(speeds), max(sizes) / max(speeds))
    assert found.now >= least * (1 - 1e-9)
    assert found.now <= sum(sizes) / min(speeds) * (1 + 1e-9)
