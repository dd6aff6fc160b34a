from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.errors import ResourceError
from tilefarm.execute import cluster
from tilefarm.execute.layout import MOST_THREADS, Layout, Node, Slot, lay_out, more

PLENTY = 100
NODES = st.lists(
    st.builds(Node, st.none(), st.integers(0, 40), st.integers(0, 4), st.integers(0, 6)), max_size=6
).map(lambda nodes: [replace(node, name=f"node {number}") for number, node in enumerate(nodes)])
DEVICES = st.sampled_from(["auto", "cpu", "cuda"])


def node(name: str, cores: int, gpus: int = 0, room: int = PLENTY) -> Node:
    return Node(name, cores, gpus, room)


def shape(layout: Layout) -> list[tuple[str | None, int, int]]:
    return [(slot.node, slot.threads, slot.gpus) for slot in layout]


def assert_fits(nodes: list[Node], layout: Layout) -> None:
    """No node gives more than it has, and every worker can work."""
    for each in nodes:
        here = [slot for slot in layout if slot.node == each.name]
        assert len(here) <= each.room
        assert sum(slot.cores for slot in here) <= each.cores
        assert sum(slot.gpus for slot in here) <= each.gpus
    assert all(1 <= slot.threads <= MOST_THREADS and (slot.gpus or slot.cores) for slot in layout)


@settings(deadline=None)
@given(nodes=NODES, device=DEVICES)
def test_every_node_gives_as_much_as_it_can(nodes: list[Node], device: str) -> None:
    def gives(each: Node) -> int:
        if device == "cuda" or (device == "auto" and each.gpus):
            return min(each.gpus, each.room)
        return min(-(-each.cores // 8), each.room)

    if not any(map(gives, nodes)):
        with pytest.raises(ResourceError):
            lay_out(nodes, device, None)
        return
    layout = lay_out(nodes, device, None)
    assert_fits(nodes, layout)
    for each in nodes:
        here = [slot for slot in layout if slot.node == each.name]
        assert len(here) == gives(each)
        if here and not here[0].gpus:  # few cores are left over, where memory and 8 threads allow
            used = sum(slot.cores for slot in here)
            assert each.cores - used < len(here) or len(here) == each.room
    assert [slot.gpus for slot in layout] == sorted((slot.gpus for slot in layout), reverse=True)


@settings(deadline=None)
@given(nodes=NODES, device=DEVICES, workers=st.integers(1, 40))
def test_a_number_that_is_asked_for_is_kept_or_refused(nodes: list[Node], device: str, workers: int) -> None:
    def holds(each: Node) -> int:
        on_gpus = device == "cuda" or (device == "auto" and each.gpus > 0)
        return min(each.room, each.gpus if on_gpus else each.cores)

    if sum(map(holds, nodes)) < workers:
        with pytest.raises(ResourceError):
            lay_out(nodes, device, workers)
        return
    layout = lay_out(nodes, device, workers)
    assert len(layout) == workers
    assert_fits(nodes, layout)
    gpus = sum(min(each.gpus, each.room) for each in nodes) if device != "cpu" else 0
    assert sum(slot.gpus for slot in layout) == min(workers, gpus)


@settings(deadline=None)
@given(nodes=NODES, device=DEVICES, workers=st.none() | st.integers(1, 12), joins=NODES, data=st.data())
def test_what_joins_is_used_and_what_is_there_keeps_its_place(
    nodes: list[Node], device: str, workers: int | None, joins: list[Node], data: st.DataObject
) -> None:
    try:
        first = lay_out(nodes, device, workers)
    except ResourceError:
        return
    left = data.draw(st.sets(st.sampled_from([each.name for each in nodes])))
    new = [replace(each, name=f"new {each.name}") for each in joins]
    there = [each for each in nodes if each.name not in left] + new
    placed = [(slot, slot.node not in left) for slot in first]
    added = more(there, device, workers, placed)
    alive = [slot for slot, lives in placed if lives]
    assert_fits(there, (*alive, *added))
    if workers is None:
        assert {slot.node for slot in added} <= {each.name for each in new}
        assert set(alive) | set(added) == set(natural(there, device))
    else:
        assert len(alive) + len(added) <= workers
    assert more(there, device, workers, placed + [(slot, True) for slot in added]) == ()


def natural(nodes: list[Node], device: str) -> Layout:
    try:
        return lay_out(nodes, device, None)
    except ResourceError:
        return ()


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [
        ([2], None, [2]),
        ([16], None, [8, 8]),
        ([12], None, [6, 6]),
        ([8, 8, 4], None, [8, 8, 4]),
        ([2], 2, [1, 1]),
        ([16], 3, [5, 5, 5]),
        ([6, 6], 3, [6, 3, 3]),
        ([16, 16], 2, [8, 8]),
        ([64, 4], 3, [8, 8, 8]),
    ],
)
def test_known_clusters(cores: list[int], workers: int | None, expected: list[int]) -> None:
    layout = lay_out([node(f"{n}", count) for n, count in enumerate(cores)], "auto", workers)
    assert [slot.threads for slot in layout] == expected


def test_workers_spread_over_nodes_that_are_alike() -> None:
    layout = lay_out([node("a", 16), node("b", 16)], "cpu", 2)
    assert shape(layout) == [("a", 8, 0), ("b", 8, 0)]


def test_gpus_first_and_nodes_without_one_beside_them() -> None:
    nodes = [node("plain", 6), node("two", 16, 2), node("one", 3, 1)]
    assert shape(lay_out(nodes, "auto", None)) == [
        ("two", 8, 1),
        ("two", 8, 1),
        ("one", 3, 1),
        ("plain", 6, 0),
    ]
    assert shape(lay_out(nodes, "cuda", None)) == [("two", 8, 1), ("two", 8, 1), ("one", 3, 1)]
    assert shape(lay_out(nodes, "auto", 2)) == [("two", 8, 1), ("two", 8, 1)]
    assert shape(lay_out(nodes, "cpu", None)) == [
        ("two", 8, 0),
        ("two", 8, 0),
        ("plain", 6, 0),
        ("one", 3, 0),
    ]
    with pytest.raises(ResourceError, match="asks for 4 GPU workers and Ray found 3"):
        lay_out(nodes, "cuda", 4)
    with pytest.raises(
        ResourceError, match="asks for 10 workers and the cluster, with 25 cores and 3 GPUs, has room for 9"
    ):
        lay_out(nodes, "auto", 10)


def test_more_gpus_than_cores() -> None:
    (slot, _) = lay_out([node("a", 1, 2)], "auto", None)
    assert slot == Slot("a", 0, 1)
    assert slot.threads == 1


def test_memory_is_each_nodes_own() -> None:
    nodes = [node("small", 32, room=1), node("none", 64, room=0), node("large", 16)]
    assert shape(lay_out(nodes, "cpu", None)) == [("small", 8, 0), ("large", 8, 0), ("large", 8, 0)]
    with pytest.raises(ResourceError, match="no node of the cluster has the memory"):
        lay_out(nodes[1:2], "cpu", None)


def test_no_cores_at_all() -> None:
    with pytest.raises(ResourceError, match="no CPU that Ray may use"):
        lay_out([node("a", 0), node("b", 0)], "cpu", None)


def test_what_does_not_start_on_a_machine_is_not_tried_there_again() -> None:
    one = Slot("a", 8, 0)
    assert more([node("a", 8)], "cpu", None, [(one, False)]) == ()
    assert more([node("a", 8)], "cpu", 1, [(one, False)]) == ()
    assert shape(more([node("a", 8), node("b", 4)], "cpu", 1, [(one, False)])) == [("b", 4, 0)]


def told(*nodes: dict[str, float], dead: tuple[dict[str, float], ...] = ()) -> list[dict[str, object]]:
    """As Ray tells of nodes."""
    alive = [{"Alive": True, "NodeID": f"{n}", "Resources": node} for n, node in enumerate(nodes)]
    return alive + [{"Alive": False, "NodeID": "dead", "Resources": node} for node in dead]


def test_the_nodes_of_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_nodes", lambda: told({"CPU": 4}, dead=({"CPU": 16, "GPU": 8},)))
    assert cluster.nodes(3) == [Node(None, 4, 0, 3)]
    with pytest.raises(ResourceError, match="found 0 GPUs") as caught:
        lay_out(cluster.nodes(3), "cuda:0", None)
    assert caught.value.exit_code == 5


def test_the_nodes_of_a_cluster_tell_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = told({"CPU": 4, "memory": 1e9}, {"CPU": 8, "GPU": 1, "memory": 5e9}, {"memory": 9e9})
    monkeypatch.setattr(cluster, "_nodes", lambda: nodes)
    monkeypatch.setattr(cluster, "_own_node", lambda: "0")
    found = cluster.nodes(7, lambda free: free // 10**9)
    assert found == [Node("0", 4, 0, 7), Node("1", 8, 1, 5), Node("2", 0, 0, 9)]
