"""A node checks the network's weights when they arrive."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tilefarm.errors import ClusterError
from tilefarm.execute.cluster import make_worker
from tilefarm.solve.checksum import weights_sha256
from tilefarm.solve.contract import Weights


def test_weights_that_arrive_whole_make_a_worker() -> None:
    arrays = {"conv1_1.weight": np.ones((2, 3), np.float32)}
    worker = make_worker(Weights(arrays, "caffe", weights_sha256(arrays)), "cpu", 1)
    assert worker.progress() is None


@pytest.mark.parametrize("damage", ["a bit", "a name", "a part"])
def test_damaged_weights_do_not(damage: str) -> None:
    arrays = {"conv1_1.weight": np.ones((2, 3), np.float32), "conv1_1.bias": np.ones(2, np.float32)}
    weights = Weights(arrays, "caffe", weights_sha256(arrays))
    found = {name: values.copy() for name, values in arrays.items()}
    if damage == "a bit":
        found["conv1_1.weight"].view(np.uint8)[-1, -1] ^= 1
    elif damage == "a name":
        found["conv1_2.bias"] = found.pop("conv1_1.bias")
    else:
        del found["conv1_1.bias"]
    with pytest.raises(ClusterError, match=r"weights arrived damaged on .*: their SHA-256 is not"):
        make_worker(replace(weights, arrays=found), "cpu", 1)
