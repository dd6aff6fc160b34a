"""`tilefarm doctor --address`: a line for each door and each node of a cluster, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tilefarm.doctor.finding import Finding
from tilefarm.errors import TilefarmError
from tilefarm.execute import cluster, tokens
from tilefarm.prepare import gib

if TYPE_CHECKING:
    from tilefarm.execute.exposure import Exposure
    from tilefarm.execute.survey import Link, NodeReport

ANSWER_SECONDS = 30.0
"""For all nodes together, to start a process and answer: it imports torch, on machines that may be busy."""
LEAST_MEMORY = 2 * 2**30
"""Bytes. A worker on the largest pieces of a usual job peaked at 2.3 GiB; on small ones at half of that."""
LEAST_STORE = 256 * 2**20
"""Bytes of Ray's object store: weights (80 MB), one level's targets, two calls in flight for each worker."""
LEAST_SPILL = 2**30
LEAST_GPU = 2 * 2**30
MOST_CLOCK = 2.0
"""Seconds: more than a clock is off that NTP keeps. S3 refuses requests from one that is 15 minutes off."""


@dataclass(frozen=True)
class Versions:
    """Of what must be the same everywhere."""

    python: str
    ray: str
    torch: str | None
    tilefarm: str


def examine_cluster(address: str, mine: Versions, seconds: float = ANSWER_SECONDS) -> list[Finding]:
    """Join the cluster, look at its doors and nodes, and leave it; a node has so many seconds to answer."""
    try:
        cluster.join(address)
    except TilefarmError as error:
        return [Finding("ray cluster", False, str(error))]
    try:
        from tilefarm.execute.exposure import look_around
        from tilefarm.execute.survey import survey

        reports = survey(seconds)
        exposure = look_around(reports)
    finally:
        cluster.leave()
    door = tokens.look_at_door(address)
    return [
        _size(address, reports),
        *_doors(door, exposure),
        *(node_finding(report, mine) for report in reports),
    ]


def _size(address: str, reports: list[NodeReport]) -> Finding:
    usable = [report for report in reports if report.facts is not None]
    cores, gpus = sum(report.cpus for report in usable), sum(report.gpus for report in usable)
    text = f"{address} has {len(reports)} nodes with {cores:.0f} cores and {gpus:.0f} GPUs"
    if not cores:
        return Finding("ray cluster", False, f"{text}; start its nodes with --num-cpus above 0")
    return Finding("ray cluster", True, text)


def _doors(door: tokens.Door, exposure: Exposure) -> Iterator[Finding]:
    reach = (
        f"{len(exposure.elsewhere)} nodes listen to other machines" if exposure.elsewhere else "loopback only"
    )
    if exposure.worldwide:
        reach += f", {len(exposure.worldwide)} of them at public addresses: keep a firewall before them"
    if door == "open":
        text = f"OPEN, no token is asked for; {reach}; start every node with {tokens.MODE}=token"
    else:
        text = f"asks for a token; {reach}"
    yield Finding("door", True, text, warning=bool(door == "open" or exposure.worldwide))
    source = tokens.find_token()
    if source is not None and (loose := source.looseness()):
        yield Finding("token", True, loose, warning=True)
    elif source is not None and door != "open":
        yield Finding("token", True, f"in {source.name}")
    if exposure.dashboard is not None:
        states = {True: "OPEN: whoever reaches it can run programs", False: "asks for a token"}
        state = states.get(exposure.dashboard_open, "does not answer from here")  # type: ignore[arg-type]
        yield Finding("dashboard", True, f"{exposure.dashboard} {state}", exposure.dashboard_open is True)
    if exposure.client is not None:
        text = f"{exposure.client} answers; tilefarm does not need it"
        yield Finding("ray client", True, text, warning=door == "open")


def node_finding(report: NodeReport, mine: Versions) -> Finding:
    """One line about a node: what it has, and after that what keeps a usual job from running there."""
    name = f"node {report.address}{' (head)' if report.head else ''}"
    facts = asdict(report)
    if report.facts is None:
        text = f"{report.trouble}; look at that machine, or take it out of the cluster"
        return Finding(name, False, text, facts=facts)
    wrong = [*_mismatches(report.facts, mine), *_shortages(report)]
    odd = [*_oddities(report, mine)]
    text = f"{_described(report)}; {'; '.join(wrong + odd)}" if wrong or odd else _described(report)
    return Finding(name, not wrong, text, bool(odd), facts)


def _described(report: NodeReport) -> str:
    facts = report.facts or {}
    parts = [
        f"tilefarm {facts['tilefarm']}, Python {facts['python']}, Ray {facts['ray']}, torch {facts['torch']}",
        f"{report.cpus:.0f} cores, {report.gpus:.0f} GPUs{_gpu_names(facts['gpus'])}",
    ]
    if facts["memory_total"] is not None:
        parts.append(f"{gib(facts['memory_free'])} of {gib(facts['memory_total'])} memory free")
    parts.append(f"object store {gib(report.object_store)}")
    if facts["spill_free"] is not None:
        parts.append(f"disk {gib(facts['spill_free'])} free")
    parts.append("this machine" if report.here else _link(report.link))
    return "; ".join(part for part in parts if part)


def _gpu_names(gpus: list[tuple[str, int]]) -> str:
    return f" ({', '.join(f'{name} {gib(size)}' for name, size in gpus)})" if gpus else ""


def _link(link: Link | None) -> str:
    if link is None:
        return ""
    to, back = (speed / 1e6 for speed in (link.to_node, link.from_node))
    return f"{link.round_trip * 1e3:.1f} ms away, {to:.0f} MB/s there, {back:.0f} MB/s back"


def _mismatches(facts: dict[str, Any], mine: Versions) -> Iterator[str]:
    for name in ("tilefarm", "ray", "python"):
        there, here = facts[name], getattr(mine, name)
        if there is None:
            yield f"{name} is not installed there; install {here}"
        elif there != here:
            yield f"{name} is {there} there and {here} here; install the same version"
    if facts["torch"] is None:
        yield f"torch is not installed there; install {mine.torch}"


def _shortages(report: NodeReport) -> Iterator[str]:
    facts = report.facts or {}
    free = facts["memory_free"]
    works = report.cpus > 0 or report.gpus > 0  # a head often has the driver alone
    if works and free is not None and free < LEAST_MEMORY:
        yield f"a worker needs {gib(LEAST_MEMORY)} of memory and {gib(free)} are free"
    if report.object_store < LEAST_STORE:
        yield (
            f"its object store must be {gib(LEAST_STORE)} or more and is {gib(report.object_store)}; start "
            "the node with a larger --object-store-memory"
        )
    small = [name for name, size in facts["gpus"] if size < LEAST_GPU]
    if small:
        yield f"{', '.join(small)} has less than {gib(LEAST_GPU)} of memory"


def _oddities(report: NodeReport, mine: Versions) -> Iterator[str]:
    facts, link = report.facts or {}, report.link
    if facts["torch"] not in (None, mine.torch):
        yield f"torch is {facts['torch']} there and {mine.torch} here: the last bits of a picture may differ"
    shared = facts["shared_memory"]
    if shared is not None and shared < report.object_store:
        yield f"/dev/shm has {gib(shared)}, less than the object store: Ray then uses a disk, which is slow"
    if facts["spill_free"] is not None and facts["spill_free"] < LEAST_SPILL:
        yield f"little disk for what does not fit into the object store: {gib(facts['spill_free'])}"
    if report.trouble is not None:
        yield report.trouble
    if link is not None and abs(link.clock_ahead) - link.round_trip / 2 > MOST_CLOCK:
        yield f"its clock is {link.clock_ahead:+.1f} s off this machine's"
