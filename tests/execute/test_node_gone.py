"""A machine of a cluster goes away in the middle of a pass."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ray.cluster_utils import Cluster

from tests import standins
from tests.small_cluster import small_cluster
from tests.standins import Mixer
from tilefarm.events import WorkerChanged
from tilefarm.execute import cluster
from tilefarm.execute.farm import RayExecutor
from tilefarm.execute.layout import alike
from tilefarm.execute.protocol import Batch, Worker
from tilefarm.solve.contract import LevelTargets, RegionMoments, SolverSettings, Weights
from tilefarm.solve.tasks import TileTask

SETTINGS = SolverSettings("vgg19", "max", "float32", (), (), 1.0, 1.0, 0.0, 5)
MOMENTS = RegionMoments(np.zeros((1, 2), np.float32), np.ones((1, 2, 2), np.float32))
TARGETS = LevelTargets("test", {"relu1_1": MOMENTS}, {})
TILES = 12
WAIT_SECONDS = 120.0


def batch(index: int) -> Batch:
    pictures = np.random.default_rng(index).random((2, 16, 16, 3), dtype=np.float32)
    return Batch(index, (TileTask(index, pictures[0], pictures[1], 3),))


class Unhurried(Mixer):
    def solve(self, *arguments: Any) -> Any:
        time.sleep(0.1)  # so that both machines have work when one goes
        return super().solve(*arguments)


def make(weights: Weights, device: str, threads: int) -> Worker:
    return Unhurried()


@pytest.fixture
def machines() -> Iterator[Cluster]:
    """A head and another machine with a core each, joined."""
    with small_cluster(1, standins, sys.modules[__name__]) as found:
        found.add_node(num_cpus=1)
        cluster.join(found.address)
        yield found


def test_a_machine_that_goes_away_loses_no_tile(machines: Cluster) -> None:
    farm = RayExecutor(make, Weights({}, "caffe", ""), alike(2, 1, 0))
    told: list[WorkerChanged] = []
    farm.listen(told.append)
    quiet = Mixer()
    expected = {
        index: quiet.solve(SETTINGS, TARGETS, batch(index))[0].image.tobytes() for index in range(TILES)
    }
    (other,) = machines.worker_nodes
    end = time.monotonic() + WAIT_SECONDS
    while not told:  # what the lost one had is done by the other before the loss is noticed
        assert time.monotonic() < end, "nobody noticed"
        found: dict[int, bytes] = {}
        done = farm.solve(SETTINGS, TARGETS, map(batch, range(TILES)), lambda progress: None)
        for count, each in enumerate(done):
            found[each.index] = each.solutions[0].image.tobytes()
            if count == 3 and other in machines.worker_nodes:
                machines.remove_node(other, allow_graceful=False)
        assert found == expected
    assert [event.change for event in told] == ["lost"]
    assert told[0].left == 1
    farm.close()
