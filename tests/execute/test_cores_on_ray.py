"""The optimizer's vectors with two real workers of Ray: the same picture, a worker killed or not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from PIL import Image
from ray._private.internal_api import node_stats

from tests import pieces, standins
from tests.pieces import PieceMixer, make_mixer
from tests.standins import opener
from tilefarm.driver import Opener, render, run_folder
from tilefarm.events import Event, StepTaken, WorkerChanged
from tilefarm.execute import cluster
from tilefarm.execute.farm import RayExecutor
from tilefarm.execute.layout import alike
from tilefarm.execute.open import ExecutorChoice
from tilefarm.solve.contract import Weights
from tilefarm.spec.load import load_job

STEPS = 12
JOB = f"""
content: content.png
style: style.png
output: {{path: out.png}}
pyramid: {{smallest: 256, iterations: [{STEPS}]}}
tiles: {{size: 64}}
optimizer: {{history: 4}}
objective: {{content_layers: {{relu2_2: 1}}, style_layers: {{relu1_1: 1}}, tv_weight: 1}}
compute: {{precision: float32, vectors: WHERE}}
"""


def make(weights: Weights, device: str, threads: int) -> PieceMixer:
    return PieceMixer()


@pytest.fixture(scope="module", autouse=True)
def own_ray() -> Iterator[None]:
    cluster.start_local(4, "cpu")
    for module in (pieces, standins):  # the workers cannot import this folder
        ray.cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    yield
    for module in (pieces, standins):
        ray.cloudpickle.unregister_pickle_by_value(module)  # type: ignore[no-untyped-call]
    cluster.leave()


def run(
    folder: Path, where: str, listen: Callable[[Event], None], open_executor: Opener
) -> tuple[bytes, dict[str, Any]]:
    """The picture, and what is on record of its one level."""
    folder.mkdir()
    generator = np.random.default_rng(4)
    for name, side in (("content.png", (200, 150)), ("style.png", (60, 40))):
        Image.fromarray(generator.integers(0, 256, (*side, 3), dtype=np.uint8)).save(folder / name)
    path = folder / "job.yaml"
    path.write_text(JOB.replace("WHERE", where))
    job = load_job(path)
    found = run_folder(job, folder / "runs")
    render(job, found, ExecutorChoice("local"), listen, open_executor)
    (level,) = json.loads(found.summary.read_text())["levels"]
    return (folder / "out.png").read_bytes(), level


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("expected") / "files"
    return run(folder, "driver", lambda event: None, opener(PieceMixer()))[0]


@pytest.fixture
def farms() -> Iterator[list[RayExecutor]]:
    """To be filled with those that are opened, and ended after the test."""
    found: list[RayExecutor] = []
    yield found
    for farm in found:
        for actor in farm._fleet.actors:
            ray.kill(actor)


def opened(farms: list[RayExecutor]) -> Opener:
    def open_executor(weights: Weights, most: int) -> RayExecutor:
        farm = RayExecutor(make_mixer, weights, alike(2, 1, 0))
        farm.close = lambda: None  # type: ignore[method-assign] # Ray is for all tests here
        farms.append(farm)
        return farm

    return open_executor


def in_store() -> int:
    """Bytes that the object store of this machine holds."""
    (node,) = ray.nodes()  # type: ignore[no-untyped-call]
    stats: Any = node_stats(  # type: ignore[no-untyped-call]
        node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False
    )
    held: int = stats.store_stats.object_store_bytes_used
    return held


def test_parts_travel_and_are_let_go(tmp_path: Path, expected: bytes, farms: list[RayExecutor]) -> None:
    held: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepTaken):
            held.append(in_store())

    found, level = run(tmp_path / "run", "workers", listen, opened(farms))
    assert found == expected
    traffic = level["traffic"]
    assert traffic["between"] > 0
    assert traffic["gradients_back"] == 0
    one_step = traffic["between"] // (STEPS + 1)
    assert len(held) == STEPS
    # those of two points and a gradient are there at a time; what is never let go would be six steps' more
    assert max(held[STEPS // 2 :]) <= max(held[: STEPS // 2]) + 2 * one_step


@pytest.mark.parametrize("step", [1, 6])
def test_a_worker_is_killed(tmp_path: Path, expected: bytes, farms: list[RayExecutor], step: int) -> None:
    changes: list[str] = []
    steps = 0

    def listen(event: Event) -> None:
        nonlocal steps
        if isinstance(event, WorkerChanged):
            changes.append(event.change)
        if isinstance(event, StepTaken):
            steps += 1
            if steps == step:
                os.kill(farms[0].workers[1].process, signal.SIGKILL)

    found, _ = run(tmp_path / "run", "workers", listen, opened(farms))
    assert found == expected
    assert changes[0] == "lost"
