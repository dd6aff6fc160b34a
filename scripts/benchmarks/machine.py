"""The machine on which the figures hold."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

from tilefarm.solve.contract import Precision

MOST_THREADS = 8
"""Of one worker, as tilefarm's in-process executor has it."""


@dataclass(frozen=True)
class Machine:
    """What decides the figures."""

    cpu: str
    instructions: str
    """The vector instructions that torch uses."""
    cores: int
    """That this process may use."""
    threads: int
    """Of torch, in all sections but those that say otherwise."""
    memory_bytes: int
    torch: str
    python: str
    fast_precision: Precision
    """What `precision: auto` means here."""

    def __str__(self) -> str:
        return (
            f"{self.cpu} ({self.instructions}), cores: {self.cores}, threads: {self.threads}, "
            f"{self.memory_bytes / 2**30:.0f} GiB; torch {self.torch}, Python {self.python}, "
            f"fast precision {self.fast_precision}"
        )


def this_machine() -> Machine:
    """The machine this runs on; only its CPU is measured."""
    import torch

    from tilefarm.solve.backend import fast_precision

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        cpu=_cpu_model(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        cores=cores,
        threads=min(cores, MOST_THREADS),
        memory_bytes=psutil.virtual_memory().total,
        torch=torch.__version__,
        python=platform.python_version(),
        fast_precision=fast_precision("cpu"),
    )


def _cpu_model() -> str:
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
