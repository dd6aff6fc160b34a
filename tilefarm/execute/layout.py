"""Which workers a cluster's nodes give: arithmetic on what the nodes have, without Ray.

Nodes differ, and so do their workers: one per GPU with its share of the node's cores, and on nodes without a
GPU one per group of up to 8 cores. No worker spans nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tilefarm.errors import ResourceError

MOST_THREADS = 8
"""A tile's convolutions gain little from more cores than this."""


@dataclass(frozen=True)
class Node:
    """What one machine of the cluster gives to workers."""

    name: str | None
    """Ray's id of the node; None where workers need not be told where to run: there is only this one."""
    cores: int
    gpus: int
    room: int
    """Workers that its memory holds."""


@dataclass(frozen=True)
class Slot:
    """A place for one worker."""

    node: str | None
    """The node's id; None leaves the choice to Ray."""
    cores: int
    """What Ray reserves; 0 on a node with more GPUs than cores."""
    gpus: int
    """0 or 1."""

    @property
    def threads(self) -> int:
        """Of torch."""
        return max(1, self.cores)


Layout = tuple[Slot, ...]


def alike(workers: int, threads: int, gpus: int = 0) -> Layout:
    """So many workers, all alike, wherever there is room."""
    return (Slot(None, threads, gpus),) * workers


def lay_out(nodes: Sequence[Node], device: str, workers: int | None) -> Layout:
    """A place for every worker, those with a GPU first, then those with many cores.

    `device` is auto (GPUs where a node has any, else its cores), cpu, or cuda (GPUs only). `workers` None
    means as many as there is room for; a number is shared out so that each next worker goes where it gets the
    most cores. Raises ResourceError where the cluster cannot hold what is asked for: Ray would wait for ever.
    """
    counts = _natural(nodes, device) if workers is None else _shared_out(nodes, device, workers)
    found = _slots(nodes, device, counts)
    if len(found) < (workers or 1):
        raise ResourceError(_shortage(nodes, device, workers))
    return found


def more(
    nodes: Sequence[Node], device: str, workers: int | None, there: Iterable[tuple[Slot, bool]]
) -> Layout:
    """Places for workers to be started beside those `there`: each one's slot, and whether it still lives.

    What was started on a node that is still there keeps its place, living or not: what does not start again
    on a machine would not start anew either.
    """
    placed = list(there)
    used: dict[str | None, list[Slot]] = {}
    for slot, _ in placed:
        used.setdefault(slot.node, []).append(slot)
    if workers is None:
        fresh = [node for node in nodes if node.name not in used]
        return _slots(fresh, device, _natural(fresh, device))
    rest = [_without(node, used.get(node.name, [])) for node in nodes]
    missing = max(0, workers - sum(lives for _, lives in placed))
    return _slots(rest, device, _shared_out(rest, device, missing))


def _without(node: Node, used: list[Slot]) -> Node:
    cores, gpus = sum(slot.cores for slot in used), sum(slot.gpus for slot in used)
    return replace(
        node,
        cores=max(0, node.cores - cores),
        gpus=max(0, node.gpus - gpus),
        room=max(0, node.room - len(used)),
    )


def _on_gpus(node: Node, device: str) -> bool:
    return device != "cpu" and (node.gpus > 0 or device != "auto")


def _natural(nodes: Sequence[Node], device: str) -> list[int]:
    """Workers per node where their number is left open."""
    return [
        min(node.room, node.gpus if _on_gpus(node, device) else -(-node.cores // MOST_THREADS))
        for node in nodes
    ]


def _shared_out(nodes: Sequence[Node], device: str, workers: int) -> list[int]:
    """Workers per node: one after the other where it gets the most (D'Hondt's highest averages)."""
    counts: Counter[int] = Counter()
    for _ in range(workers):
        offers = {number: _offer(node, device, counts[number]) for number, node in enumerate(nodes)}
        best = max(offers, key=lambda number: offers[number], default=None)
        if best is None or not any(offers[best]):
            break
        counts[best] += 1
    return [counts[number] for number in range(len(nodes))]


def _offer(node: Node, device: str, count: int) -> tuple[float, float, float]:
    """What a worker beside `count` others gets: a GPU, threads, cores; nothing at all where none fits."""
    on_gpus = _on_gpus(node, device)
    if count >= min(node.room, node.gpus if on_gpus else node.cores):
        return (0, 0, 0)
    cores = node.cores / (node.gpus if on_gpus else count + 1)
    return (on_gpus, min(MOST_THREADS, cores), cores)


def _slots(nodes: Sequence[Node], device: str, counts: Sequence[int]) -> Layout:
    found: list[Slot] = []
    for node, count in zip(nodes, counts, strict=True):
        if count:
            on_gpus = _on_gpus(node, device)
            cores = min(MOST_THREADS, node.cores // (node.gpus if on_gpus else count))
            found += [Slot(node.name, cores, int(on_gpus))] * count
    return tuple(sorted(found, key=lambda slot: (-slot.gpus, -slot.cores)))


def _shortage(nodes: Sequence[Node], device: str, workers: int | None) -> str:
    cores, gpus = sum(node.cores for node in nodes), sum(node.gpus for node in nodes)
    if device.startswith("cuda") and gpus < (workers or 1):
        return (
            f"the job asks for {workers or 1} GPU workers and Ray found {gpus} GPUs; "
            "add GPUs, lower compute.workers or use compute.device: cpu"
        )
    if not cores and not gpus:
        return "the cluster has no CPU that Ray may use; start its nodes with --num-cpus"
    fit = sum(_shared_out(nodes, device, workers or 1))
    if not fit:
        return (
            "no node of the cluster has the memory that a worker needs; lower tiles.size or add larger nodes"
        )
    return (
        f"compute.workers asks for {workers} workers and the cluster, with {cores} cores and {gpus} GPUs, "
        f"has room for {fit}; lower it, add nodes or use compute.device: cpu"
    )
