"""Starting Ray on this machine, or joining a cluster that runs already."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from dataclasses import dataclass
from typing import Any

from tilefarm.errors import ClusterError, ResourceError, StoppedError
from tilefarm.execute.protocol import Worker
from tilefarm.execute.session import Session
from tilefarm.solve.contract import Weights

# Ray rewrites 127.0.0.1 to the routable address on Linux and lets its servers listen on all
# interfaces; this variable, read when ray is imported, keeps them on loopback. A test lists the
# sockets, since nothing documents this use of it.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
MOST_THREADS = 8
"""A tile's convolutions gain little from more cores than this."""
STORE_BYTES = 512 * 2**20
"""Object store of an embedded Ray: weights, one level's targets and the tiles in flight."""
START_ATTEMPTS = 2
CONNECT_SECONDS = 10.0
# Ray tries 20 times, for 41 s each (measured with 2.60), before it says that nobody answers.
IMPATIENT = {"RAY_NUM_REDIS_GET_RETRIES": "1"}

_session: Session | None = None
"""Of the Ray that this process started."""


@dataclass(frozen=True)
class Layout:
    """How many workers there are and what each one gets."""

    workers: int
    threads: int
    """CPU cores, and torch threads, of each worker."""
    gpus: float
    """GPUs of each worker: 0 or 1."""


def start_local(cores: int, device: str) -> None:
    """Start Ray inside this process's session, reachable from this machine only.

    `cores` is what Ray may give to workers; GPUs are found by Ray. Its files are in a folder of this user's
    alone, which goes with it. Raises ClusterError where it does not start, the second time either: a machine
    may be so busy for a while that Ray's own half a minute is too short.
    """
    os.environ.update(LOOPBACK)
    if device.startswith("cuda:"):
        os.environ["CUDA_VISIBLE_DEVICES"] = device.removeprefix("cuda:")
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            _start(cores)
            return
        except StoppedError:
            raise
        except Exception as error:
            if attempt == START_ATTEMPTS:
                raise ClusterError(
                    f"Ray did not start on this machine ({_first_line(error)}); "
                    "run 'tilefarm doctor', or use --executor local to render without Ray"
                ) from error


def _start(cores: int) -> None:
    """Start Ray in a session; where that fails, nothing of it is left."""
    global _session
    try:
        _session = Session()
        _init(
            address="local",
            num_cpus=cores,
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
            _temp_dir=str(_session.ray_folder),
        )
    except BaseException:
        leave()
        raise


def join(address: str) -> None:
    """Connect to a running cluster. Raises ClusterError where there is none at the address."""
    os.environ.update(IMPATIENT)
    try:
        _knock(address)
        _init(address=address)
    except Exception as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({_first_line(error)}); "
            "start one with 'ray start --head', or leave --address out to use this machine alone"
        ) from error


def layout(device: str, workers: int | None, most: int) -> Layout:
    """Workers for the cluster that is joined: one per GPU, else one per group of up to 8 cores of a node.

    `workers` is what the job asks for, None for as many as there is room for but at most `most`, which
    is what memory allows. Raises ResourceError where the cluster cannot hold what is asked for: Ray
    itself would wait for ever.
    """
    nodes = [node["Resources"] for node in _nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if device.startswith("cuda") or (device == "auto" and gpus > 0):
        if gpus == 0 or (workers or 1) > gpus:
            raise ResourceError(
                f"the job asks for {workers or 1} GPU workers and Ray found {gpus} GPUs; "
                "add GPUs, lower compute.workers or use compute.device: cpu"
            )
        cores = min(int(node.get("CPU", 1) / node["GPU"]) for node in nodes if node.get("GPU", 0))
        return Layout(workers or min(gpus, most), max(1, min(MOST_THREADS, cores)), 1)
    return cpu_layout([int(node.get("CPU", 0)) for node in nodes], workers, most)


def _nodes() -> list[dict[str, Any]]:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def cpu_layout(cores: list[int], workers: int | None, most: int) -> Layout:
    """Workers for nodes with so many cores; see `layout`. Raises ResourceError like it."""
    cores = [count for count in cores if count >= 1]
    if not cores:
        raise ResourceError("the cluster has no CPU that Ray may use; start its nodes with --num-cpus")
    if workers is None:
        threads = min(MOST_THREADS, *cores)
        return Layout(max(1, min(most, sum(count // threads for count in cores))), threads, 0)
    threads = max(1, min(MOST_THREADS, *cores, sum(cores) // workers))
    while threads > 1 and sum(count // threads for count in cores) < workers:
        threads -= 1
    if sum(count // threads for count in cores) < workers:
        raise ResourceError(
            f"compute.workers asks for {workers} workers and the cluster has {sum(cores)} cores; "
            "lower it or add nodes"
        )
    return Layout(workers, threads, 0)


def resources() -> dict[str, float]:
    """What the cluster has in all: CPU, GPU, memory ..."""
    import ray

    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return total


def leave() -> None:
    """Disconnect; a Ray that `start_local` started ends, and nothing of it is left."""
    global _session
    import ray

    ray.shutdown()
    session, _session = _session, None
    if session is not None:
        session.close()


def make_worker(weights: Weights, device: str, threads: int) -> Worker:
    """A worker on real features, made in the actor's process: the driver itself needs no torch."""
    from tilefarm.execute.worker import TileWorker

    return TileWorker(weights, device, threads)


def _init(**options: Any) -> None:
    """`ray.init`, after which SIGTERM means what it meant before: Ray would have it exit with code 15."""
    import ray

    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    stopped = False
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except SystemExit:  # Ray's answer to a SIGTERM while it starts
        stopped = True
    finally:
        if in_main_thread:  # no other thread can set handlers, and there Ray leaves them alone
            signal.signal(signal.SIGTERM, before)
    if stopped and callable(before):  # not raised again: it would count as a second signal
        before(signal.SIGTERM, None)
    elif stopped:
        signal.raise_signal(signal.SIGTERM)


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT; other forms of address are left to Ray."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
