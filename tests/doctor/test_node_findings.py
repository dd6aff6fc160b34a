"""What doctor says about a node, from its facts alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tilefarm.doctor.cluster import Versions, _doors, node_finding
from tilefarm.execute.exposure import Exposure, is_loopback, is_public
from tilefarm.execute.survey import Link, NodeReport

GIB = 2**30
MINE = Versions("3.12.1", "2.60.0", "2.9.1", "0.1.0")
FACTS: dict[str, Any] = {
    "python": "3.12.1",
    "ray": "2.60.0",
    "torch": "2.9.1",
    "tilefarm": "0.1.0",
    "memory_free": 12 * GIB,
    "memory_total": 16 * GIB,
    "shared_memory": 8 * GIB,
    "spill_free": 40 * GIB,
    "gpus": [("Painter 9000", 24 * GIB)],
}
LINK = Link(round_trip=0.002, to_node=110e6, from_node=95e6, clock_ahead=0.01)
GOOD = NodeReport("ab12", "10.0.0.7", False, False, 8.0, 1.0, GIB, FACTS, LINK, None)


def with_facts(**facts: Any) -> NodeReport:
    return replace(GOOD, facts=FACTS | facts)


def test_a_good_node_is_one_line() -> None:
    finding = node_finding(GOOD, MINE)
    assert (finding.ok, finding.warning) == (True, False)
    assert finding.name == "node 10.0.0.7"
    assert finding.text == (
        "tilefarm 0.1.0, Python 3.12.1, Ray 2.60.0, torch 2.9.1; 8 cores, 1 GPUs (Painter 9000 24.0 GiB); "
        "12.0 GiB of 16.0 GiB memory free; object store 1.0 GiB; disk 40.0 GiB free; "
        "2.0 ms away, 110 MB/s there, 95 MB/s back"
    )
    assert finding.facts is not None
    assert finding.facts["facts"] == FACTS


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (with_facts(tilefarm="0.2.0"), "tilefarm is 0.2.0 there and 0.1.0 here; install the same version"),
        (with_facts(tilefarm=None), "tilefarm is not installed there; install 0.1.0"),
        (with_facts(ray="2.59.0"), "ray is 2.59.0 there"),
        (with_facts(python="3.12.2"), "python is 3.12.2 there"),
        (with_facts(torch=None), "torch is not installed there"),
        (with_facts(memory_free=GIB), "a worker needs 2.0 GiB of memory and 1.0 GiB are free"),
        (replace(GOOD, object_store=GIB // 8), "its object store must be 256 MiB or more and is 128 MiB"),
        (with_facts(gpus=[("Toy", GIB)]), "Toy has less than 2.0 GiB of memory"),
        (
            replace(GOOD, facts=None, link=None, trouble="did not answer in 30 s"),
            "did not answer in 30 s; look",
        ),
    ],
)
def test_what_keeps_a_job_from_running(report: NodeReport, said: str) -> None:
    finding = node_finding(report, MINE)
    assert not finding.ok
    assert said in finding.text


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (with_facts(torch="2.9.0"), "torch is 2.9.0 there and 2.9.1 here"),
        (with_facts(shared_memory=GIB // 16), "/dev/shm has 64 MiB, less than the object store"),
        (with_facts(spill_free=GIB // 2), "little disk for what does not fit into the object store: 512 MiB"),
        (replace(GOOD, link=replace(LINK, clock_ahead=-3.5)), "its clock is -3.5 s off this machine's"),
        (replace(GOOD, link=None, trouble="its link could not be measured"), "could not be measured"),
    ],
)
def test_what_is_good_to_know(report: NodeReport, said: str) -> None:
    finding = node_finding(report, MINE)
    assert (finding.ok, finding.warning) == (True, True)
    assert said in finding.text


def test_a_clock_is_not_blamed_for_a_slow_link() -> None:
    slow = replace(LINK, round_trip=5.0, clock_ahead=2.4)
    assert not node_finding(replace(GOOD, link=slow), MINE).warning


def test_a_head_without_workers_needs_no_memory_for_one() -> None:
    head = replace(with_facts(memory_free=GIB, gpus=[]), head=True, here=True, cpus=0.0, gpus=0.0, link=None)
    finding = node_finding(head, MINE)
    assert finding.ok
    assert finding.name == "node 10.0.0.7 (head)"
    assert finding.text.endswith("this machine")


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("no_token")
def test_open_doors_are_told_about() -> None:
    exposure = Exposure("10.0.0.7:8265", True, "10.0.0.7:10001", ("10.0.0.7", "8.8.8.8"), ("8.8.8.8",))
    findings = {finding.name: finding for finding in _doors("open", exposure)}
    assert {name for name, finding in findings.items() if finding.warning} == {
        "door", "dashboard", "ray client"
    }  # fmt: skip
    assert findings["door"].text.startswith(
        "OPEN, no token is asked for; 2 nodes listen to other machines, 1 of"
    )
    assert "whoever reaches it can run programs" in findings["dashboard"].text


@pytest.mark.usefixtures("no_token")
def test_locked_doors_are_no_reason_to_worry() -> None:
    exposure = Exposure("10.0.0.7:8265", False, None, ("10.0.0.7",), ())
    assert not any(finding.warning for finding in _doors("locked", exposure))


@pytest.mark.parametrize(
    ("host", "loopback", "public"),
    [
        ("127.0.0.1", True, False),
        ("::1", True, False),
        ("localhost", True, False),
        ("192.168.1.10", False, False),
        ("10.1.2.3", False, False),
        ("8.8.8.8", False, True),
        ("painter.local", False, False),
    ],
)
def test_who_can_reach_an_address(host: str, loopback: bool, public: bool) -> None:
    assert (is_loopback(host), is_public(host)) == (loopback, public)
