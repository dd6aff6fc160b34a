"""Starting Ray on this machine, or joining a cluster that runs already."""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import psutil

from tilefarm.errors import ClusterError, StoppedError
from tilefarm.execute import tokens
from tilefarm.execute.layout import Node
from tilefarm.execute.protocol import Worker
from tilefarm.execute.session import Session
from tilefarm.solve.checksum import weights_sha256
from tilefarm.solve.contract import Weights

# Ray rewrites 127.0.0.1 to the routable address on Linux and lets its servers listen on all
# interfaces; this variable, read when ray is imported, keeps them on loopback. A test lists the
# sockets, since nothing documents this use of it.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
STORE_BYTES = 512 * 2**20
"""Object store of an embedded Ray: weights, one level's targets and the tiles in flight."""
START_ATTEMPTS = 2
CONNECT_SECONDS = 10.0
# Ray tries 20 times, for 41 s each (measured with 2.60), before it says that nobody answers.
IMPATIENT = {"RAY_NUM_REDIS_GET_RETRIES": "1"}

_session: Session | None = None
"""Of the Ray that this process started."""


def start_local(cores: int, device: str) -> None:
    """Start Ray inside this process's session, reachable from this machine only.

    `cores` is what Ray may give to workers; GPUs are found by Ray. Its files are in a folder of this user's
    alone, which goes with it. Raises ClusterError where it does not start, the second time either: a machine
    may be so busy for a while that Ray's own half a minute is too short.
    """
    os.environ.update(LOOPBACK)
    tokens.make_own_token()
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
    """Connect to a running cluster, with this machine's token where it asks for one.

    Raises ClusterError where there is none at the address, or it does not let this process in.
    """
    os.environ.update(IMPATIENT)
    door: tokens.Door = "unknown"
    try:
        _knock(address)
        door = tokens.settle(address)
        if door != "unknown" and not _is_node():
            raise ClusterError(_not_a_node(address))
        _init(address=address)
    except ClusterError:
        raise
    except Exception as error:
        raise ClusterError(_why_not_joined(address, door, error)) from error


def _why_not_joined(address: str, door: tokens.Door, error: Exception) -> str:
    refused = tokens.refusal(address) if door == "locked" else None
    if refused is not None:
        return refused
    if "Version mismatch" in str(error):  # of Ray or Python; Ray's message is a table
        table = " ".join(str(error).split())
        return f"Ray and Python must be the same here and at {address}; install the same versions ({table})"
    if "No node info found" in str(error.__cause__):
        return _not_a_node(address)
    return (
        f"no Ray cluster answers at {address} ({_first_line(error)}); "
        "start one with 'ray start --head', or leave --address out to use this machine alone"
    )


def _is_node() -> bool:
    """Whether a node of some cluster runs here, as Ray itself finds out: without one it looks for 60 s."""
    return any((process.info["name"] or "").startswith("raylet") for process in psutil.process_iter(["name"]))


def _not_a_node(address: str) -> str:
    return (
        f"a cluster answers at {address} and this machine is not one of its nodes, as a driver's must be; "
        f"run 'ray start --address={address}' here first, or submit on one of them"
    )


def nodes(most: int, fits: Callable[[int], int] | None = None) -> list[Node]:
    """The nodes that are alive, with the memory that each of them told Ray of when it started.

    `most`: workers that fit into this machine's memory beside the driver. `fits`: how many fit into so many
    bytes of another one; without it the cluster is this machine alone, and Ray finds the places.
    """
    here = None if fits is None else _own_node()
    found = []
    for node in _nodes():
        if not node["Alive"]:
            continue
        has, room = node["Resources"], most
        if fits is not None and node["NodeID"] != here:
            room = fits(int(has["memory"])) if "memory" in has else sys.maxsize
        name = None if fits is None else node["NodeID"]
        found.append(Node(name, int(has.get("CPU", 0)), int(has.get("GPU", 0)), room))
    return found


def _own_node() -> str:
    import ray

    name: str = ray.get_runtime_context().get_node_id()
    return name


def _nodes() -> list[dict[str, Any]]:
    import ray

    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return found


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
    """A worker on real features, made in the actor's process: the driver itself needs no torch.

    Raises ClusterError for weights that are not what was sent: no check of Ray's covers a node's memory.
    """
    if weights_sha256(weights.arrays) != weights.sha256:
        raise ClusterError(
            f"the network's weights arrived damaged on {platform.node()}: their SHA-256 is not "
            f"{weights.sha256}; check that machine's memory and network"
        )
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
