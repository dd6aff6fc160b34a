from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tilefarm.errors import ResourceError
from tilefarm.execute import cluster
from tilefarm.execute.cluster import MOST_THREADS, Layout

NODES = st.lists(st.integers(0, 40), min_size=1, max_size=6)


def room(cores: list[int], threads: int) -> int:
    """How many workers of so many threads fit: a worker cannot span nodes."""
    return sum(count // threads for count in cores)


def on(
    monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float], dead: tuple[dict[str, float], ...] = ()
) -> None:
    """Have Ray tell of these nodes."""
    answer = [{"Alive": True, "Resources": node} for node in nodes]
    answer += [{"Alive": False, "Resources": node} for node in dead]
    monkeypatch.setattr(cluster, "_nodes", lambda: answer)


@settings(deadline=None)
@given(cores=NODES, most=st.integers(1, 50))
def test_as_many_workers_as_fit_and_as_memory_allows(cores: list[int], most: int) -> None:
    assume(any(cores))
    layout = cluster.cpu_layout(cores, None, most)
    assert layout.gpus == 0
    assert 1 <= layout.threads <= MOST_THREADS
    assert layout.workers == min(most, room(cores, layout.threads))
    # no node with a core is left without a worker for having too few
    assert layout.threads <= min(count for count in cores if count)


@settings(deadline=None)
@given(cores=NODES, workers=st.integers(1, 60), most=st.integers(1, 50))
def test_a_number_that_is_asked_for_is_kept(cores: list[int], workers: int, most: int) -> None:
    assume(any(cores))
    if workers > sum(cores):
        with pytest.raises(
            ResourceError, match=f"asks for {workers} workers and the cluster has {sum(cores)}"
        ):
            cluster.cpu_layout(cores, workers, most)
        return
    layout = cluster.cpu_layout(cores, workers, most)
    assert layout.workers == workers <= room(cores, layout.threads)
    assert 1 <= layout.threads <= MOST_THREADS
    # one more thread each would not fit, be too many, or not fit the smallest node
    more = layout.threads + 1
    smallest = min(count for count in cores if count)
    assert more > MOST_THREADS or more > smallest or room(cores, more) < workers


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [
        ([2], None, Layout(1, 2, 0)),
        ([16], None, Layout(2, 8, 0)),
        ([8, 8, 4], None, Layout(5, 4, 0)),
        ([2], 2, Layout(2, 1, 0)),
        ([16], 3, Layout(3, 5, 0)),
        ([6, 6], 3, Layout(3, 3, 0)),  # four cores each would leave room for two only
    ],
)
def test_known_clusters(cores: list[int], workers: int | None, expected: Layout) -> None:
    assert cluster.cpu_layout(cores, workers, 100) == expected


def test_no_cores_at_all() -> None:
    with pytest.raises(ResourceError, match="no CPU that Ray may use"):
        cluster.cpu_layout([0, 0], None, 1)


def test_one_worker_per_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, {"CPU": 16, "GPU": 2}, {"CPU": 6, "GPU": 1}, {"CPU": 64})
    assert cluster.layout("auto", None, 100) == Layout(3, 6, 1)
    assert cluster.layout("cuda", 2, 100) == Layout(2, 6, 1)
    assert cluster.layout("auto", None, 1) == Layout(1, 6, 1)
    assert cluster.layout("cpu", None, 100) == Layout(2 + 1 + 10, 6, 0)
    with pytest.raises(ResourceError, match="asks for 4 GPU workers and Ray found 3"):
        cluster.layout("cuda", 4, 100)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, {"CPU": 4}, dead=({"CPU": 16, "GPU": 8},))
    with pytest.raises(ResourceError, match="found 0 GPUs") as caught:
        cluster.layout("cuda:0", None, 100)
    assert caught.value.exit_code == 5
    assert cluster.layout("auto", None, 100) == Layout(1, 4, 0)
