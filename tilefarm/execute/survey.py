"""A look at every node of a cluster that this process has joined: what it has, and how far away it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tilefarm.execute import node_facts
from tilefarm.execute.ray_errors import last_line

LINK_SECONDS = 2.0
"""For the measurement of one link."""
ROUND_TRIPS = 5
_FIRST_BYTES = 256 * 2**10
"""Above what Ray sends inside a call, 100 KiB."""
_MOST_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Link:
    """Between the driver and a node."""

    round_trip: float
    """Seconds, of a call that does nothing; the least of several."""
    to_node: float
    """Bytes a second."""
    from_node: float
    clock_ahead: float
    """Seconds by which the node's clock is ahead of this machine's; known to half a round trip."""


@dataclass(frozen=True)
class NodeReport:
    """What is known about a node. `facts` are those of `node_facts.Witness`, None where it did not answer."""

    node: str
    """Ray's identifier."""
    address: str
    head: bool
    here: bool
    """Whether the driver is on it: then there is no link."""
    cpus: float
    gpus: float
    object_store: int
    """Bytes."""
    facts: dict[str, Any] | None
    link: Link | None
    trouble: str | None
    """Why it did not answer, or its link was not measured."""


def survey(seconds: float) -> list[NodeReport]:
    """Ask all nodes that are alive, and measure their links one after the other; the head comes first.

    A node that does not answer within `seconds` is reported as such.
    """
    nodes: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    nodes.sort(key=lambda node: (not _is_head(node), str(node["NodeManagerAddress"])))
    here = ray.get_runtime_context().get_node_id()
    ray.cloudpickle.register_pickle_by_value(node_facts)  # type: ignore[no-untyped-call]
    witnesses: list[Any] = []
    try:
        witnesses = [_witness(node["NodeID"]) for node in nodes]
        answers = _answers(witnesses, seconds)
        return [
            _report(node, witness, answer, node["NodeID"] == here)
            for node, witness, answer in zip(nodes, witnesses, answers, strict=True)
        ]
    finally:
        ray.cloudpickle.unregister_pickle_by_value(node_facts)  # type: ignore[no-untyped-call]
        for witness in witnesses:
            ray.kill(witness)


def _witness(node: str) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    options = {"num_cpus": 0, "max_restarts": 0, "scheduling_strategy": strategy}
    return ray.remote(**options)(node_facts.Witness).remote()  # type: ignore[call-overload]


def _answers(witnesses: list[Any], seconds: float) -> list[dict[str, Any] | str]:
    """Each node's facts, or why there are none."""
    asked = [witness.facts.remote() for witness in witnesses]
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=seconds)
    return [
        _answer(reference) if reference in answered else f"did not answer in {seconds:.0f} s"
        for reference in asked
    ]


def _answer(reference: Any) -> dict[str, Any] | str:
    try:
        facts: dict[str, Any] = ray.get(reference)
        return facts
    except RayError as error:
        return f"could not be asked: {last_line(error)}"


def _report(node: dict[str, Any], witness: Any, answer: dict[str, Any] | str, here: bool) -> NodeReport:
    resources = node["Resources"]
    facts, trouble = (None, answer) if isinstance(answer, str) else (answer, None)
    link = None
    if facts is not None and not here:
        try:
            link = measure_link(witness)
        except (GetTimeoutError, RayError) as error:
            slow = isinstance(error, GetTimeoutError)
            why = f"took more than {LINK_SECONDS:.0f} s" if slow else last_line(error)
            trouble = f"its link could not be measured: {why}"
    return NodeReport(
        node=str(node["NodeID"]),
        address=str(node["NodeManagerAddress"]),
        head=_is_head(node),
        here=here,
        cpus=float(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        object_store=int(resources.get("object_store_memory", 0)),
        facts=facts,
        link=link,
        trouble=trouble,
    )


def _is_head(node: dict[str, Any]) -> bool:
    return "node:__internal_head__" in node["Resources"]


def measure_link(witness: Any, seconds: float = LINK_SECONDS) -> Link:
    """Round trip and speed to a node, in `seconds` at most. Raises GetTimeoutError and RayError."""
    end = time.monotonic() + seconds
    trips = [_clock_trip(witness, end) for _ in range(ROUND_TRIPS)]
    round_trip, clock_ahead = min(trips)
    to_node = _speed(lambda size: _send(witness, size, end), round_trip, end)
    from_node = _speed(lambda size: _fetch(witness, size, end), round_trip, end)
    return Link(round_trip, to_node, from_node, clock_ahead)


def _clock_trip(witness: Any, end: float) -> tuple[float, float]:
    """Seconds there and back, and by how many the clock there is ahead, as if both ways took equally long."""
    sent, begin = time.time(), time.monotonic()
    there: float = ray.get(witness.clock.remote(), timeout=_left(end))
    seconds = time.monotonic() - begin
    return seconds, there - (sent + seconds / 2)


def _speed(transfer: Callable[[int], float], round_trip: float, end: float) -> float:
    """Bytes a second, from a small transfer, and from a larger one where the time is there for it."""
    size = _FIRST_BYTES
    seconds = max(transfer(size) - round_trip, 1e-6)
    if seconds * _MOST_BYTES / size < (end - time.monotonic()) / 4:
        size = _MOST_BYTES
        seconds = max(transfer(size) - round_trip, 1e-6)
    return size / seconds


def _send(witness: Any, size: int, end: float) -> float:
    reference = ray.put(os.urandom(size))
    begin = time.monotonic()
    ray.get(witness.take.remote(reference), timeout=_left(end))
    return time.monotonic() - begin


def _fetch(witness: Any, size: int, end: float) -> float:
    reference = witness.give.remote(size)
    ray.wait([reference], timeout=_left(end), fetch_local=False)
    begin = time.monotonic()
    ray.get(reference, timeout=_left(end))
    return time.monotonic() - begin


def _left(end: float) -> float:
    return max(0.01, end - time.monotonic())
