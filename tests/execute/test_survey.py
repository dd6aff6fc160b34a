"""`tilefarm doctor --address` on a real cluster with nodes that are wrong in one way each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

import tilefarm
from tests.token_cluster import TOKEN, TokenCluster, until
from tilefarm.doctor.cluster import Versions

PROGRAM = """
import json, sys
from dataclasses import asdict
from tilefarm.doctor import cluster as doctor
versions = doctor.Versions(*json.loads(sys.argv[3]))
findings = doctor.examine_cluster(sys.argv[1], versions, float(sys.argv[2]))
print(json.dumps([asdict(finding) for finding in findings]))
"""
STRANGER = "0.0.7"
MINE = Versions(sys.version.split()[0], ray.__version__, "2.0.0", tilefarm.__version__)
STORE = 300_000_000
SMALL_STORE = 80_000_000


@pytest.fixture(scope="module")
def machines() -> Iterator[TokenCluster]:
    """A head, a node with another tilefarm, and one with little memory for objects."""
    with tempfile.TemporaryDirectory(prefix="tf") as folder:
        cluster = TokenCluster(Path(folder), loopback=False, dashboard=True)
        stranger = Path(folder) / "stranger" / "tilefarm"
        stranger.mkdir(parents=True)
        (stranger / "__init__.py").write_text(f'__version__ = "{STRANGER}"\n')
        # on one machine Ray puts the driver's own folders first, which other machines do not have
        (stranger.parent / "sitecustomize.py").write_text("import tilefarm\n")
        try:
            cluster.start_head(f"--object-store-memory={STORE}")
            until(lambda: cluster.is_up(0), "the head is up")
            cluster.add_node({"PYTHONPATH": str(stranger.parent)}, f"--object-store-memory={STORE}")
            until(lambda: cluster.is_up(1), "the second node is up")
            cluster.add_node({}, f"--object-store-memory={SMALL_STORE}")
            until(lambda: cluster.is_up(2), "the third node is up")
            yield cluster
        finally:
            cluster.close()


def examined(cluster: TokenCluster, seconds: float) -> list[dict[str, Any]]:
    versions = [MINE.python, MINE.ray, MINE.torch, MINE.tilefarm]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, cluster.address, str(seconds), json.dumps(versions)],
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    return findings


@pytest.fixture(scope="module")
def seen(machines: TokenCluster) -> list[dict[str, Any]]:
    return examined(machines, 150)  # over as soon as all have answered


@pytest.fixture(scope="module")
def nodes(seen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The findings about nodes."""
    return [each for each in seen if each["name"].startswith("node")]


def only(findings: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = findings
    return found


def test_the_cluster_and_its_doors(machines: TokenCluster, seen: list[dict[str, Any]]) -> None:
    findings = {each["name"]: each for each in seen if not each["name"].startswith("node")}
    assert findings["ray cluster"]["ok"]
    assert "3 nodes with 3 cores and 0 GPUs" in findings["ray cluster"]["text"]
    assert findings["door"]["text"] == "asks for a token; 3 nodes listen to other machines"
    assert findings["token"]["text"] == f"in {machines.token_file}"
    assert findings["dashboard"]["text"].endswith(" asks for a token")


def test_the_head_is_first_and_in_order_but_for_its_torch(nodes: list[dict[str, Any]]) -> None:
    head = nodes[0]
    assert head["facts"]["head"]
    assert head["ok"]
    assert head["warning"]
    assert "torch is " in head["text"]
    facts = head["facts"]["facts"]
    assert (facts["python"], facts["ray"], facts["tilefarm"]) == (MINE.python, MINE.ray, MINE.tilefarm)
    assert head["facts"]["object_store"] == STORE
    assert 0 < facts["memory_free"] < facts["memory_total"]
    assert facts["spill_free"] > 0


def test_another_tilefarm_keeps_a_job_from_running(nodes: list[dict[str, Any]]) -> None:
    stranger = only([each for each in nodes if each["facts"]["facts"]["tilefarm"] == STRANGER])
    assert not stranger["ok"]
    wanted = f"tilefarm is {STRANGER} there and {tilefarm.__version__} here; install the same version"
    assert wanted in stranger["text"]


def test_a_small_object_store_keeps_a_job_from_running(nodes: list[dict[str, Any]]) -> None:
    small = only([each for each in nodes if each["facts"]["object_store"] == SMALL_STORE])
    assert not small["ok"]
    assert "its object store must be 256 MiB or more and is 76 MiB" in small["text"]


def test_links_are_measured_of_the_nodes_that_the_driver_is_not_on(nodes: list[dict[str, Any]]) -> None:
    links = [each["facts"]["link"] for each in nodes if not each["facts"]["here"]]
    assert len(links) == 2
    for link in links:
        assert 0 < link["round_trip"] < 2
        assert link["to_node"] > 1e6  # a busy machine's loopback is faster by far
        assert link["from_node"] > 1e6
        assert abs(link["clock_ahead"]) <= link["round_trip"]  # it is the same clock


def test_a_node_that_hangs_does_not_hold_the_others_up(machines: TokenCluster) -> None:
    raylet = machines.raylet(2)
    raylet.send_signal(signal.SIGSTOP)
    try:
        nodes = [each for each in examined(machines, 20) if each["name"].startswith("node")]
    finally:
        raylet.send_signal(signal.SIGCONT)
    silent = only([each for each in nodes if each["facts"]["object_store"] == SMALL_STORE])
    assert silent["facts"]["facts"] is None
    assert not silent["ok"]
    assert silent["text"].startswith("did not answer in 20 s; look at that machine")
    assert len(nodes) == 3
