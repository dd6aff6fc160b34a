"""Statistics are added up on the way to the driver: by whom, and with which bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.exact.test_core_lbfgs import SETTINGS, at_workers, in_files, picture_of, start_of
from tests.pieces import PieceMixer
from tilefarm.errors import VectorsLostError
from tilefarm.exact.cores import CoreVectors
from tilefarm.exact.meetings import FAN_IN, Meeting, in_rows, rehearsed, stages
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Crews
from tilefarm.execute.resident import Resident
from tilefarm.geometry import Size
from tilefarm.solve.contract import SolverSettings
from tilefarm.solve.core_tasks import CoreTask, CropSums, CropTask, Place

SIZE = Size(100, 70)
ONE = 8 * (1 + 2 + 3)
"""Bytes of a piece's statistics: a weight, two sums and three products."""


class Crowd(LocalExecutor):
    """Workers that keep different pieces; `crews` says which, on which machines."""

    def __init__(self, crews: Crews) -> None:
        super().__init__(PieceMixer())
        self._crews = crews
        workers = [worker for machine in crews for worker in machine]
        self._residents = [Resident(PieceMixer()) for _ in workers]
        self._homes = {index: number for number, pieces in enumerate(workers) for index in pieces}
        self.again = False
        """Whether pass 1 is done twice, and once more as if it were of an evaluation before."""

    def move(self, pieces: Iterable[int], to: int) -> None:
        """Have another worker do what there is to do with these pieces."""
        self._homes.update(dict.fromkeys(pieces, to))

    def crews(self, settings: SolverSettings, places: Sequence[Place]) -> Crews:
        return self._crews

    def with_cores(
        self, settings: SolverSettings, tasks: Iterable[CoreTask | CropTask], *more: Any
    ) -> Iterator[Any]:
        for task in tasks:
            self._worker = self._residents[self._homes[task.index]]
            answer = [*super().with_cores(settings, [task], *more)]
            if self.again and isinstance(answer[0], CropSums):
                assert isinstance(task, CropTask)
                early = replace(task, piece=replace(task.piece, evaluation=task.piece.evaluation - 1))
                for each in (task, early):
                    [*super().with_cores(settings, [each], *more)]
            yield from answer


def crews_of(owners: Sequence[int], machines: Sequence[int]) -> Crews:
    """Each piece has an owner, each owner a machine."""
    workers = {
        owner: tuple(index for index, each in enumerate(owners) if each == owner) for owner in set(owners)
    }
    return tuple(
        tuple(workers[owner] for owner in workers if machines[owner] == machine)
        for machine in sorted({machines[owner] for owner in workers})
    )


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_bits_do_not_depend_on_the_farm(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("farm")
    picture = picture_of(folder, SIZE)
    count = len(picture.pieces)
    owners = data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    machines = data.draw(st.lists(st.integers(0, 3), min_size=6, max_size=6))
    crowd = Crowd(crews_of(owners, machines))
    files, workers = in_files(folder, picture), at_workers(folder, picture, crowd)
    for optimizer in (files, workers):
        optimizer.start(start_of(SIZE).tofile)
        while optimizer.state.iteration < 3:
            assert optimizer.step()
    assert workers.state.losses == files.state.losses
    assert workers.keep()
    assert workers.point.read_bytes() == files.point.read_bytes()


def test_the_driver_gets_one_answer(tmp_path: Path) -> None:
    """Of twelve pieces two branches, of eight and of four, however many workers there are."""
    picture = picture_of(tmp_path, SIZE)
    assert len(picture.pieces) == 12
    crowd = Crowd((((0, 1), (2, 3)), ((4, 5, 6, 7),), ((8, 9, 10, 11),)))
    optimizer = at_workers(tmp_path, picture, crowd)
    optimizer.start(start_of(SIZE).tofile)
    alone = at_workers(tmp_path, picture)
    alone.start(start_of(SIZE).tofile)
    found, plain = optimizer._evaluator.traffic, alone._evaluator.traffic
    assert found.sums_back == plain.sums_back == 2 * ONE
    assert found.between - plain.between == (1 + 2) * ONE, (
        "on the first machine, then from machine to machine"
    )


def test_pieces_of_a_worker_that_is_away_are_with_another(tmp_path: Path) -> None:
    """Who is at home somewhere is not yet there: a lost worker may be about to come back."""
    picture = picture_of(tmp_path, SIZE)
    crowd = Crowd(((tuple(range(7)),), (tuple(range(7, 12)),)))
    crowd.move(range(12), 0)
    optimizer = at_workers(tmp_path, picture, crowd)
    optimizer.start(start_of(SIZE).tofile)
    files = in_files(tmp_path, picture)
    files.start(start_of(SIZE).tofile)
    assert optimizer.state.losses == files.state.losses


def test_a_piece_that_is_done_twice_counts_once(tmp_path: Path) -> None:
    """As when its worker was out of reach for a moment. What comes late of an evaluation before does not."""
    picture = picture_of(tmp_path, SIZE)
    crowd = Crowd(((tuple(range(12)),),))
    optimizer = at_workers(tmp_path, picture, crowd)
    crowd.again = True
    optimizer.start(start_of(SIZE).tofile)
    assert optimizer.step()
    files = in_files(tmp_path, picture)
    files.start(start_of(SIZE).tofile)
    assert files.step()
    assert optimizer.state.losses == files.state.losses


def test_what_a_worker_does_not_have_is_lost(tmp_path: Path) -> None:
    picture = picture_of(tmp_path, SIZE)
    crowd = Crowd(((tuple(range(7)),), (tuple(range(7, 12)),)))
    optimizer = at_workers(tmp_path, picture, crowd)
    optimizer.start(start_of(SIZE).tofile)
    assert optimizer._cores is not None
    crowd.move([7], 0)  # the first of the second worker's, for which it is asked
    with pytest.raises(VectorsLostError, match="piece 7"):
        optimizer._cores.joined(optimizer._evaluator._evaluation)


def test_nobody_there_is_a_loss_like_any_other(tmp_path: Path) -> None:
    cores = CoreVectors(Crowd(()), SETTINGS, picture_of(tmp_path))
    with pytest.raises(VectorsLostError, match="no worker is there"):
        cores.joined(1)


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 500))
def test_rows_are_like_those_of_workers_that_are_alike(machines: list[int], pieces: int) -> None:
    found = in_rows(machines, pieces)
    workers = [worker for machine in found for worker in machine]
    assert [index for worker in workers for index in worker] == [*range(pieces)]
    sizes = [len(worker) for worker in workers]
    assert len(sizes) == min(sum(machines), pieces)
    assert max(sizes) - min(sizes) <= 1
    if pieces >= sum(machines):
        assert [len(machine) for machine in found] == machines


def test_a_rehearsal_tells_what_is_handed_on() -> None:
    first, machine, last = rehearsed((((0, 1), (2, 3)), ((4, 5, 6, 7),), ((8, 9, 10, 11),)))
    assert [(each.own, each.brought, each.made) for each in first] == [
        (2, 0, 1),
        (2, 0, 1),
        (4, 0, 1),
        (4, 0, 1),
    ]
    assert [(each.own, each.brought, each.made) for each in machine] == [(0, 1, 1)]
    assert [(each.own, each.brought, each.made) for each in last] == [(0, 2, 2)]


def test_who_meets_where() -> None:
    assert stages((((0, 1, 2),),)) == [[Meeting(0, (0, 1, 2), (), True)]]
    assert stages((((0, 1), (2,)),)) == [
        [Meeting(0, (0, 1), (), False), Meeting(2, (2,), (), False)],
        [Meeting(0, (), (0, 2), True)],
    ]
    assert stages((((0,), (1,)), ((2,),))) == [
        [Meeting(0, (0,), (), False), Meeting(1, (1,), (), False), Meeting(2, (2,), (), False)],
        [Meeting(0, (), (0, 1), False)],
        [Meeting(0, (), (0, 2), True)],
    ]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=80))
def test_everybody_is_heard_once(workers: list[int]) -> None:
    names = iter(range(1000))
    crews = tuple(tuple((next(names),) for _ in range(count)) for count in workers)
    waiting: set[int] = set()
    found = stages(crews)
    for stage in found:
        guests = [guest for meeting in stage for guest in meeting.guests]
        assert len(guests) == len(set(guests))
        assert set(guests) <= waiting
        waiting = (waiting - set(guests)) | {meeting.host for meeting in stage}
        assert all(len(meeting.guests) <= max(FAN_IN, *workers) for meeting in stage)
    assert len(waiting) == 1
    assert [meeting.to_driver for stage in found for meeting in stage].count(True) == 1
    assert len(found) <= 2 + 3  # 80 machines: 10, 2, 1
