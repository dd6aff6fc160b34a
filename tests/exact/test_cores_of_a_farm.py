"""L-BFGS whose vectors lie with workers of a farm in simulated time: losses, returns, and slow workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.exact.test_core_lbfgs import (
    HISTORY,
    KEEP,
    SETTINGS,
    STEPS,
    TARGETS,
    in_files,
    picture_of,
    result,
    start_of,
    steps,
)
from tests.pieces import PieceMixer
from tests.simulated_ray import Act, Actor, Ref, UnavailableError, World
from tilefarm.exact.core_lbfgs import CoreLbfgs
from tilefarm.exact.cores import CoreVectors
from tilefarm.exact.evaluate_cores import CoreEvaluator
from tilefarm.execute.deadlines import AwakeClock
from tilefarm.execute.errands import Errands
from tilefarm.execute.farm import RayExecutor
from tilefarm.execute.health import Fleet
from tilefarm.execute.protocol import WorkerInfo
from tilefarm.execute.resident import Resident
from tilefarm.geometry import Size

SIZE = Size(100, 60)
"""28 pieces."""
SECONDS = 0.01
"""Of a call."""


class CoreActor(Actor):
    """A worker with cores of its own, which go with its process."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(world, number)
        self._residents: dict[int, Resident] = {}

    @property
    def do(self) -> Any:
        return SimpleNamespace(remote=self._do)

    def _do(self, weights: Any, shared: Any, call: Any) -> Ref:
        there = self.world.time >= self.down_until
        ref = super().do(call)
        if there and ref.error is None:
            resident = self._residents.setdefault(self.life, Resident(PieceMixer()))
            ref.value = replace(call, shared=shared).on(resident)
        return ref

    def lose(self, seconds: float) -> None:
        """The process ends now, and is back in so many seconds."""
        self.end(self.world.time, UnavailableError(), self.world.time + seconds)


class CoreWorld(World):
    """`ray` for `CoreActor`."""

    def __init__(self, workers: int, act: Callable[[Actor, Any], Act]) -> None:
        super().__init__(workers, act)
        self.actors = [CoreActor(self, number) for number in range(workers)]

    @staticmethod
    def put(value: Any) -> Any:
        return value


class CoreFarm:
    """A farm, an optimizer on it, and what the user was told."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        folder: Path,
        workers: int,
        act: Callable[[Actor, Any], Act] = lambda actor, item: Act(seconds=SECONDS),
    ) -> None:
        self.world = CoreWorld(workers, act)
        for module in ("dispatch", "health", "errands"):
            monkeypatch.setattr(f"tilefarm.execute.{module}.ray", self.world)
        fleet = Fleet(
            list(self.world.actors),
            [actor.pulse() for actor in self.world.actors],
            None,
            AwakeClock(lambda: self.world.time),
        )
        info = [
            WorkerInfo("cpu", "a core", None, 1, "float32", 100 * number, "here", "1", 2**33, 2**33)
            for number in range(workers)
        ]
        self.executor = RayExecutor.__new__(RayExecutor)  # without a cluster to start it on
        self.executor._fleet = fleet
        self.executor._joining = SimpleNamespace(info=info)  # type: ignore[assignment]
        self.executor._errands = Errands(fleet, info, None)
        self.notes: list[str] = []
        self.picture = picture_of(folder, SIZE, 16, 8)
        cores = CoreVectors(self.executor, SETTINGS, self.picture)
        self._cores = cores
        evaluate = CoreEvaluator(
            self.executor, SETTINGS, TARGETS, self.picture, KEEP, lambda done, total: None
        )
        self.optimizer = CoreLbfgs(
            folder / "cores", cores, HISTORY, evaluate, self.notes.append, lambda: self.world.time
        )
        self.optimizer.start(start_of(SIZE).tofile)

    def pieces(self) -> list[int]:
        """How many each worker with some has, in falling order."""
        places = [self._cores.place(index) for index in range(len(self.picture.pieces))]
        crews = self.executor.crews(SETTINGS, places)
        return sorted((len(worker) for machine in crews for worker in machine), reverse=True)


def expected(folder: Path) -> tuple[tuple[float, ...], bytes]:
    files = in_files(folder, picture_of(folder, SIZE, 16, 8))
    files.start(start_of(SIZE).tofile)
    steps(files)
    return result(files)


@pytest.mark.parametrize("away", [0.3, 5.0])
@pytest.mark.parametrize("workers", [2, 3, 8])
def test_one_loss_costs_one_way_back_and_who_comes_back_has_its_share_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: int, away: float
) -> None:
    farm = CoreFarm(monkeypatch, tmp_path, workers)
    shares = farm.pieces()
    assert len(shares) == workers
    steps(farm.optimizer, 3)
    farm.world.actors[-1].lose(away)  # type: ignore[attr-defined]
    farm.optimizer.step()
    if away > 2:
        assert len(farm.pieces()) == workers - 1
    farm.world.time += 60.0  # long enough for vectors to be handed out anew
    steps(farm.optimizer)
    assert farm.pieces() == shares
    (note,) = farm.notes
    assert "goes back from step" in note
    assert result(farm.optimizer) == expected(tmp_path)


def test_a_slow_worker_that_nobody_knew_soon_has_less_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def act(actor: Actor, call: Any) -> Act:
        return Act(seconds=SECONDS * (30 if actor.number == 2 else 1))

    farm = CoreFarm(monkeypatch, tmp_path, 3, act)
    assert farm.pieces() == [10, 9, 9], "all count as alike"
    steps(farm.optimizer, 6 * STEPS)
    slow = farm.pieces()[2:] or [0]
    assert slow[0] <= 1
    assert farm.notes == []
