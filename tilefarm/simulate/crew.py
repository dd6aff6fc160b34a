"""The workers of a farm file: as a run would see them, and as a simulation needs them."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import tilefarm
from tilefarm.execute.protocol import WorkerInfo
from tilefarm.simulate.farm_file import FarmFile, Node

GIB = 2**30
MEGABIT = 1e6 / 8
"""Bytes."""


@dataclass(frozen=True)
class SimWorker:
    """One worker of the farm."""

    machine: int
    """Machines are numbered over all nodes of the file."""
    pixel_steps_s: float
    """Pixels that it sends forward and backward through the network in a second."""
    vectors_s: float
    """Bytes of vectors that it reads or writes in a second."""
    call_seconds: float
    first_call_seconds: float
    failures_per_second: float
    restart_seconds: float
    joins_after: float


@dataclass(frozen=True)
class Machine:
    """What its workers share."""

    link: float | None
    """Bytes a second, each way; None: it is the driver's own."""
    latency: float
    """Seconds."""


@dataclass(frozen=True)
class SimCrew:
    """All of them."""

    workers: tuple[SimWorker, ...]
    machines: tuple[Machine, ...]
    infos: tuple[WorkerInfo, ...]
    """The workers as they would describe themselves."""


def crew_of(farm: FarmFile, flop_per_pixel_step: float) -> SimCrew:
    """The workers of all machines, in the order of the file.

    `flop_per_pixel_step`: of the job's network, forward and backward, for speeds in TFLOP/s.
    """
    workers: list[SimWorker] = []
    machines: list[Machine] = []
    infos: list[WorkerInfo] = []
    for node in farm.nodes:
        for _ in range(node.count):
            machine = len(machines)
            link = None if node.link_mbit is None else node.link_mbit * MEGABIT
            machines.append(Machine(link, node.latency_ms / 1e3))
            worker = SimWorker(
                machine,
                _speed(node, flop_per_pixel_step),
                node.vectors_mb_s * 1e6,
                node.call_seconds,
                node.first_call_seconds,
                node.failures_per_hour / 3600,
                node.restart_seconds,
                node.joins_after_seconds,
            )
            workers += [worker] * node.workers
            infos += [_info(node, machine)] * node.workers
    return SimCrew(tuple(workers), tuple(machines), tuple(infos))


def _speed(node: Node, flop: float) -> float:
    if node.megapixel_steps_s is not None:
        return node.megapixel_steps_s * 1e6
    assert node.tflops is not None  # the file's own rule
    return node.tflops * 1e12 / flop


def _info(node: Node, machine: int) -> WorkerInfo:
    on_gpu, memory = node.device == "cuda", round(node.memory_gib * GIB)
    main = round(node.main_memory_gib * GIB) if on_gpu else memory
    return WorkerInfo(
        device="cuda:0" if on_gpu else "cpu",
        device_name=node.name,
        gpu_bytes=memory if on_gpu else None,
        threads=1,
        fast_precision=node.precision,
        process=0,
        node=platform.node() if node.link_mbit is None else f"{node.name} {machine}",
        version=tilefarm.__version__,
        memory_bytes=main,
        node_bytes=main,
    )
