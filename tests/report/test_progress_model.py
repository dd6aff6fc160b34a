"""How far, how fast, how long: computed by hand for scripted runs and a clock of our own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.events import (
    Event,
    LevelBegan,
    RoundFinished,
    RunStarted,
    StepsProgress,
    StepTaken,
    TileFinished,
)
from tilefarm.geometry import Size
from tilefarm.progress import ProgressModel
from tilefarm.solve.contract import Losses

Script = Callable[..., list[Event]]


def shares(events: list[Event]) -> list[float]:
    """The share after each event, with one second from one to the next."""
    model = ProgressModel()
    found = []
    for now, event in enumerate(events):
        model.take(event, now)
        found.append(model.share)
        left = model.seconds_left(now)
        assert left is None or left >= -1e-6
    return found


def test_a_whole_run_goes_from_nothing_to_all_and_never_back(scripted: Script) -> None:
    found = shares(scripted())
    assert found[0] == 0
    assert found[-1] == 1
    assert found == sorted(found)
    assert len(set(found)) > 50, "it moves with every tile"


@settings(deadline=None)
@given(st.data())
def test_a_resumed_run_begins_where_it_was_left(
    scripted: Script, work: tuple[int, ...], data: st.DataObject
) -> None:
    level = data.draw(st.sampled_from([1, 2]))
    tiles = (6, 20)[level - 1]
    number, done = data.draw(st.integers(0, 1)), data.draw(st.integers(0, tiles - 1))
    events = scripted(level, number, done)
    found = shares(events)
    assert found[-1] == 1
    assert found == sorted(found)
    first_tile = next(index for index, event in enumerate(events) if isinstance(event, TileFinished))
    one = work[level] / (2 * tiles)
    finished = sum(work[:level]) + one * (number * tiles + done + 1)
    # with what the neighbour in flight has done
    assert finished / sum(work) - 1e-9 <= found[first_tile] <= (finished + one) / sum(work) + 1e-9


def test_levels_count_by_their_pixels_and_steps(scripted: Script, work: tuple[int, ...]) -> None:
    model = ProgressModel()
    for event in scripted():
        model.take(event, now=0.0)
        if isinstance(event, RoundFinished):
            rounds = 1 if event.level == 0 else 2
            done = sum(work[: event.level]) + work[event.level] * (event.round + 1) / rounds
            assert model.work_done == pytest.approx(done)
            assert model.share == pytest.approx(done / sum(work))


def losses(total: float) -> Losses:
    return Losses(total=total, content=0.0, style=0.0, tv=0.0)


def finished(level: int, number: int, tile: int, done: int, loss: float = 1.0) -> TileFinished:
    end = losses(loss)
    return TileFinished(level, number, tile, done, (4, 16)[level], losses(9), end, end, 10, 0, 1.0, 1)


@pytest.fixture
def model() -> ProgressModel:
    """A level of four tiles, two rounds, 800 units of work, then one of 16 and 1600; it is second 100."""
    model = ProgressModel()
    model.take(RunStarted("a", "/a", Size(8, 8), (800, 1600), ("cpu",), "float32", False), now=90.0)
    model.take(LevelBegan(0, Size(4, 4), 4, 2, 10), now=100.0)
    return model


def test_nothing_is_foretold_before_there_is_a_pace(model: ProgressModel) -> None:
    assert ProgressModel().share == 0
    assert ProgressModel().seconds_left(now=5.0) is None
    assert model.seconds_left(now=100.0) is None
    assert model.seconds_left(now=130.0) is None
    assert model.tiles_per_second(now=130.0) is None
    assert model.loss is None


def test_the_time_left_follows_from_the_pace_of_the_level(model: ProgressModel) -> None:
    model.take(finished(0, 0, 0, 1, loss=7.5), now=110.0)
    # 100 of 2400 units in 10 seconds: 2300 more take 230
    assert model.work_done == 100
    assert model.seconds_left(now=110.0) == pytest.approx(230)
    assert model.tiles_per_second(now=110.0) == pytest.approx(0.1)
    assert model.loss == 7.5
    # nothing more for another 10 seconds: the pace has halved
    assert model.seconds_left(now=120.0) == pytest.approx(460)


def test_steps_of_a_tile_in_flight_count(model: ProgressModel) -> None:
    model.take(StepsProgress(0, 0, 3, 5, 10, 4.0), now=105.0)
    assert model.work_done == 50
    assert model.loss == 4.0
    assert model.seconds_left(now=105.0) == pytest.approx(2350 / 50 * 5)
    model.take(finished(0, 0, 3, 1), now=110.0)
    assert model.work_done == 100, "a finished tile must not count with its steps as well"


def test_the_next_level_is_judged_by_its_own_pace(model: ProgressModel) -> None:
    for number in range(2):
        for tile in range(4):
            model.take(finished(0, number, tile, tile + 1), now=101.0 + 4 * number + tile)
        model.take(RoundFinished(0, number, 2.0, 1.5, 4.0), now=104.0 + 4 * number)
    assert model.work_done == 800
    assert model.loss == pytest.approx(1.5)
    model.take(LevelBegan(1, Size(8, 8), 16, 1, 10), now=200.0)
    assert model.seconds_left(now=205.0) is None
    assert model.loss is None
    model.take(finished(1, 0, 0, 1), now=220.0)
    assert model.seconds_left(now=220.0) == pytest.approx(15 * 20)


def test_tiles_that_were_done_before_say_nothing_about_the_pace(model: ProgressModel) -> None:
    model.take(finished(0, 1, 2, 3), now=150.0)  # a run resumed in its second round, with two tiles done
    assert (model.round, model.done) == (1, 3)
    assert model.work_done == 400 + 300
    # one tile of 100 units in the 50 seconds since the level began, and 1700 are left
    assert model.seconds_left(now=150.0) == pytest.approx(1700 / 100 * 50)
    assert model.tiles_per_second(now=150.0) == pytest.approx(1 / 50)
    assert model.seconds_left(now=150.001) == pytest.approx(850, rel=1e-3)
    model.take(finished(0, 1, 3, 4), now=160.0)
    assert model.seconds_left(now=160.0) == pytest.approx(1600 / 200 * 60)
    assert model.tiles_per_second(now=160.0) == pytest.approx(2 / 60)


def test_a_tile_in_flight_is_work_of_this_session_when_restored_ones_are_told(model: ProgressModel) -> None:
    model.take(StepsProgress(0, 1, 3, 5, 10, 4.0), now=110.0)
    assert model.seconds_left(now=110.0) == pytest.approx((2400 - 450) / 50 * 10)
    model.take(finished(0, 1, 2, 3), now=120.0)  # two were done before; half of tile 3 is done as well
    assert model.work_done == 400 + 300 + 50
    assert model.seconds_left(now=120.0) == pytest.approx((2400 - 750) / 150 * 20)
    assert model.tiles_per_second(now=120.0) == pytest.approx(1 / 20)


@given(restored=st.integers(0, 14), seconds=st.floats(0.001, 1e4))
def test_a_resumed_round_is_judged_by_its_own_tiles(restored: int, seconds: float) -> None:
    """The pace after the first tile is that tile's, however many were there."""
    model = ProgressModel()
    model.take(RunStarted("a", "/a", Size(8, 8), (800, 1600), ("cpu",), "float32", True), now=0.0)
    model.take(LevelBegan(1, Size(8, 8), 16, 1, 10), now=0.0)
    model.take(finished(1, 0, 15, restored + 1), now=seconds)
    assert model.tiles_per_second(now=seconds) == pytest.approx(1 / seconds)
    assert model.seconds_left(now=seconds) == pytest.approx((15 - restored) * seconds)


def step(iteration: int, accepted: bool = True) -> StepTaken:
    return StepTaken(0, iteration, 20, accepted, losses(float(iteration)), losses(1.0), 2.0)


def exact_model() -> ProgressModel:
    """A level of 600 units of work by the exact method; it is second 100."""
    model = ProgressModel()
    model.take(RunStarted("a", "/a", Size(8, 8), (600,), ("cpu",), "float32", False), now=90.0)
    model.take(LevelBegan(0, Size(8, 8), 1, 1, 20, pieces=4), now=100.0)
    return model


def test_steps_of_the_exact_method_count() -> None:
    model = exact_model()
    model.take(step(1), now=104.0)
    assert (model.work_done, model.step, model.loss) == (30, 1, 1.0)
    assert model.seconds_left(now=104.0) == pytest.approx(19 * 4)
    model.take(step(2, accepted=False), now=108.0)
    assert (model.work_done, model.loss) == (60, 1.0), "a step that was taken back has no loss to show"


def test_steps_before_a_resumption_say_nothing_about_the_pace() -> None:
    model = exact_model()
    model.take(step(16), now=110.0)
    assert model.seconds_left(now=110.0) is None
    model.take(step(17), now=115.0)
    assert model.seconds_left(now=115.0) == pytest.approx(3 * 5)
