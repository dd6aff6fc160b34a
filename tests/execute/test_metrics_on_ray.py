"""A run on a real cluster: what its head's Prometheus endpoint shows, and what the dashboard asks for."""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from tests import standins
from tests.faulty import write_job
from tests.small_cluster import small_cluster
from tests.standins import Mixer
from tilefarm.driver import render, run_folder
from tilefarm.events import LevelBegan, RunStarted, StepTaken, TileFinished, WorkerChanged, WorkReturned
from tilefarm.execute import cluster
from tilefarm.execute.farm import RayExecutor
from tilefarm.execute.layout import alike
from tilefarm.execute.metrics import recorder
from tilefarm.execute.open import ExecutorChoice
from tilefarm.execute.protocol import Worker
from tilefarm.geometry import Size
from tilefarm.monitoring import METRICS, Monitor
from tilefarm.solve.contract import Losses, Weights
from tilefarm.spec.load import load_job

DASHBOARD = Path(__file__).parents[2] / "cluster" / "grafana" / "tilefarm.json"
SECONDS = 120
SUFFIXES = {"counter": "_total", "gauge": "", "histogram": "_bucket"}
NAME = re.compile(r"ray_\w+")


def make(weights: Weights, device: str, threads: int) -> Worker:
    return Mixer()


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


@pytest.fixture
def head() -> Iterator[Cluster]:
    with small_cluster(2, standins, sys.modules[__name__], metrics_report_interval_ms=1000) as found:
        yield found


def lines(address: str) -> list[str]:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return [line for line in answer.read().decode().splitlines() if not line.startswith("#")]


def names(found: list[str]) -> set[str]:
    return {re.split(r"[{ ]", line)[0] for line in found}


def is_an_actors_memory(line: str) -> bool:
    return line.startswith('ray_component_rss_bytes{Component="ray::Actor')


def rest(run: str, choice: ExecutorChoice) -> Monitor:
    """What does not happen in a short run on workers that do well."""
    record = recorder(choice)
    assert record is not None
    monitor, losses = Monitor(run, record), Losses(1.0, 1.0, 1.0, 1.0)
    monitor(RunStarted(run, run, Size(8, 8), (64,), ("cpu", "cpu"), "float32", False))
    monitor(LevelBegan(0, Size(8, 8), 2, 1, 1))
    monitor(TileFinished(0, 0, 0, 1, 2, losses, losses, losses, 1, 0, 1.0, 2))
    monitor(StepTaken(0, 1, 1, True, losses, losses, 1.0))
    monitor(WorkerChanged(0, "lost", "", 1))
    monitor.on_work(WorkReturned(0, "tiles", (0,), 0))
    return monitor


def test_the_endpoint_shows_what_the_dashboard_asks_for(head: Cluster, tmp_path: Path) -> None:
    """A run's own numbers as they must be, and every name of every panel."""
    pytest.importorskip("aiohttp", reason="only ray[default] exports metrics")
    cluster.join(head.address)
    choice = ExecutorChoice("ray", head.address)
    (node,) = ray.nodes()  # type: ignore[no-untyped-call]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    job = load_job(write_job(tmp_path, "feathered"))
    run = run_folder(job, tmp_path / "runs")
    found: list[str] = []
    crew: list[RayExecutor] = []

    def opened(weights: Weights, most: int) -> RayExecutor:
        crew.append(RayExecutor(make, weights, alike(2, 1)))
        crew[0].close = lambda: None  # type: ignore[method-assign] # the numbers go with the driver
        return crew[0]

    render(job, run, choice, lambda event: None, opened)
    other = rest("other", choice)
    wanted = {name for text in expressions() for name in NAME.findall(text)}
    assert {f"ray_{metric.name}{SUFFIXES[metric.kind]}" for metric in METRICS} <= wanted
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and not (wanted <= names(found) and any(map(is_an_actors_memory, found))):
        other.refresh()  # the run is over and its gauges go
        time.sleep(0.5)
        found = lines(address)
    assert wanted - names(found) == set()
    assert any(map(is_an_actors_memory, found))
    for number, level in enumerate(json.loads(run.summary.read_text())["levels"], start=1):
        mine = [line for line in found if f'run="{run.root.name}"' in line and f'level="{number}"' in line]
        (done,) = (line for line in mine if line.startswith("ray_tilefarm_tiles_done_total{"))
        assert float(done.split()[-1]) == level["tiles"] * level["rounds"]


def test_the_dashboard_is_whole() -> None:
    found = dashboard()
    assert found["title"] == "tilefarm"
    assert {variable["name"] for variable in found["templating"]["list"]} == {"datasource", "run"}
    ids = [panel["id"] for panel in found["panels"]]
    assert len(set(ids)) == len(ids) >= 10
    cells: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        place = panel["gridPos"]
        mine = {
            (place["x"] + across, place["y"] + down)
            for across in range(place["w"])
            for down in range(place["h"])
        }
        assert max(x for x, _ in mine) < 24
        assert not mine & cells, f"{panel['title']} lies over another panel"
        cells |= mine
        for target in panel["targets"]:
            assert target["legendFormat"]
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_dashboard_groups_by_tags_that_exist() -> None:
    """Of our own metrics; a tag that does not exist makes an empty legend, and no error."""
    tags = {f"ray_{metric.name}": {*metric.tags, "le"} for metric in METRICS}
    for text in expressions():
        for name in NAME.findall(text):
            known = tags.get(re.sub("_(total|bucket)$", "", name))
            used = {tag for group in re.findall(r"by \(([^)]*)\)", text) for tag in re.split(", *", group)}
            assert known is None or used <= known, text
            assert text.count("(") == text.count(")")
