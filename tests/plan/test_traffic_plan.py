"""The traffic that is planned is the traffic that is counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tilefarm.geometry import Size
from tilefarm.plan.halo import ReceptiveField, partition
from tilefarm.plan.traffic import (
    EvaluationTraffic,
    evaluation_traffic,
    link_seconds,
    overlap,
    seconds_with_vectors_at_the_tiles,
    useful_gpus,
)
from tilefarm.solve.folding import folded
from tilefarm.solve.tasks import Derivatives, LayerSums
from tilefarm.solve.traffic import array_bytes

SIZE = Size(300, 200)
PIECES = tuple(partition(SIZE, 64, ReceptiveField(4, 12, 8)))
CHANNELS = (3, 8)


def test_the_sums_and_slopes_are_those_of_the_arrays() -> None:
    layers = {str(n): LayerSums(np.ones(2), np.ones((2, n)), np.ones((2, n, n))) for n in CHANNELS}
    found = evaluation_traffic(PIECES, CHANNELS, "packed", machines=3, regions=2)
    assert found.sums == len(PIECES) * array_bytes({name: folded(one) for name, one in layers.items()})
    slopes = Derivatives(
        {name: one.sums.astype(np.float32) for name, one in layers.items()},
        {name: one.products.astype(np.float32) for name, one in layers.items()},
        {},
    )
    assert found.slopes == 3 * array_bytes(slopes)


def test_pixels_and_halos() -> None:
    found = evaluation_traffic(PIECES, CHANNELS, "float32")
    crops = sum(np.zeros((p.crop.height, p.crop.width, 3), np.float32).nbytes for p in PIECES)
    assert found.crops == found.gradients == crops
    assert found.halos == 2 * (crops - 12 * SIZE.pixels)
    half = evaluation_traffic(PIECES, CHANNELS, "half")
    assert (half.crops, half.gradients, half.halos) == (crops / 2, crops / 2, found.halos / 2)


TRAFFIC = EvaluationTraffic(crops=800.0, slopes=10.0, sums=100.0, gradients=900.0, halos=160.0)


def test_the_passes_follow_each_other_and_the_directions_do_not() -> None:
    assert link_seconds(TRAFFIC, 100.0) == 8 + 9
    assert useful_gpus(TRAFFIC, 100.0, 34.0) == 2


def test_with_the_vectors_at_the_tiles_every_machine_brings_its_own_link() -> None:
    def seconds(machines: int, gpu_seconds: float) -> float:
        return seconds_with_vectors_at_the_tiles(TRAFFIC, 30.0, 20.0, machines, 100.0, gpu_seconds)

    others = (30 + 20 + 10) / 100
    assert seconds(2, 8.0) == pytest.approx(4.0 + others), "the GPUs"
    assert seconds(1, 1.0) == pytest.approx(1.6 + others), "the halos"
    assert seconds(64, 8.0) == pytest.approx(0.125 + others)


@pytest.mark.parametrize(
    ("stages", "in_flight"), [((1, 1, 1), 2), ((1, 1), 2), ((5, 1, 1), 2), ((1, 1, 1), 3), ((2, 3, 4), 1)]
)
def test_overlap_against_a_simulation(stages: tuple[float, ...], in_flight: int) -> None:
    """Calls that pass through the stages one by one, a new one given out when an old one is back."""
    calls, free, back = 600, [0.0] * len(stages), [0.0] * in_flight
    for number in range(calls):
        time = back[number % in_flight]
        for stage, seconds in enumerate(stages):
            time = free[stage] = max(time, free[stage]) + seconds
        back[number % in_flight] = time
    pace = calls / max(back)
    assert math.isclose(pace * max(stages), overlap(stages, in_flight), rel_tol=0.01)
