"""How this machine is timed for jobs of the exact method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from tests.pieces import PieceMixer
from tests.prepared import prepared_job
from tests.simulate.test_simulated_jobs import evaluations, info, last
from tilefarm import calibrate
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Executor
from tilefarm.settings import choose_keep
from tilefarm.simulate import time_pieces
from tilefarm.simulate.time_pieces import pixel_steps


@pytest.mark.parametrize("memory", [1.0, 3.0, 6.0, 40.0])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_work_that_is_timed_is_the_work_that_is_simulated(memory: float, workers: int) -> None:
    infos = [info(memory, away=False)] * workers
    prepared, work = last(prepared_job(3000, 512, vectors="driver"), infos)
    level = prepared.plan.levels[-1]
    keep = choose_keep(prepared, level, infos, "bfloat16")
    simulated = sum(item.pixel_steps for each in evaluations(work)[1].passes for item in each.items)
    assert pixel_steps(level.pieces, workers, keep) == pytest.approx(simulated)


def test_pixels_of_a_row_over_the_seconds_of_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    mixer, done = PieceMixer(), list[int]()

    def two_seconds(work: Callable[[], None], *, well: bool) -> list[float]:
        before = mixer.passes
        work()
        done.append(mixer.passes - before)
        return [2.0]

    monkeypatch.setattr(time_pieces, "timed", two_seconds)
    monkeypatch.setattr("tilefarm.calibrate.channels_of", lambda network: defaultdict(lambda: 2))
    executor: Executor = LocalExecutor(mixer)
    prepared = prepared_job(2000, 96, vectors="driver")
    found = time_pieces.time_pieces(prepared, executor)
    assert done == [2 * time_pieces.PIECES], "both passes over each piece"
    pieces, size = time_pieces._row(prepared, time_pieces.PIECES)
    assert (len(pieces), size.width, size.height) == (2, 2 * 96, 96)
    crops = sum(piece.crop.size.pixels for piece in pieces)
    assert found[0] in (crops / 2, 1.5 * crops / 2), "with graphs kept, or without"
    assert found[1] == 0, "the first one was faster"


def test_medians_of_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    turns: list[str] = []

    def takes(name: str, *seconds: float) -> Callable[[], None]:
        left = iter(seconds)

        def work() -> None:
            nonlocal now
            turns.append(name)
            now += next(left)

        return work

    monkeypatch.setattr("tilefarm.calibrate.time.perf_counter", lambda: now)
    monkeypatch.setattr(calibrate, "SECONDS", 9.0)
    one, other = takes("one", 1, 1, 5, 1), takes("other", 2, 0.1, 0.2, 3)
    assert calibrate.timed(one, other, well=True) == pytest.approx([1, 0.2])
    assert turns == ["one", "other"] * 3
    assert calibrate.timed(one, other, well=False) == pytest.approx([1, 3])
