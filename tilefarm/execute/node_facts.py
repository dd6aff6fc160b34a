"""What a node of a cluster has, asked on the node itself.

This module travels to the nodes by value, since they may have another tilefarm or none. So whatever it needs
of others is imported late, and what it answers is made of plain values.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ray

SHARED_MEMORY = "/dev/shm"


class Witness:
    """An actor that says what its node has; it takes no CPU, so that a busy node answers too."""

    def facts(self) -> dict[str, Any]:
        """Versions, memory and disk in bytes, GPUs as names and bytes; None for what is not there."""
        free, total = _memory()
        return {
            "python": platform.python_version(),
            "ray": ray.__version__,
            "torch": _version("torch"),
            "tilefarm": _tilefarm(),
            "memory_free": free,
            "memory_total": total,
            "shared_memory": _disk(SHARED_MEMORY, total=True),
            "spill_free": _disk(_session_folder(), total=False),
            "gpus": _gpus(),
        }

    def clock(self) -> float:
        """Seconds since 1970, by the node's clock."""
        return time.time()

    def take(self, data: bytes) -> int:
        """How many bytes came."""
        return len(data)

    def give(self, size: int) -> bytes:
        """So many bytes, of which no two blocks are alike: some links compress."""
        return os.urandom(size)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _tilefarm() -> str | None:
    """What a worker would import, which is not always what is installed."""
    try:
        import tilefarm
    except ImportError:
        return None
    return getattr(tilefarm, "__version__", None)


def _memory() -> tuple[int | None, int | None]:
    """Free and in all: of the container, where this tilefarm's own way of asking is there."""
    with suppress(ImportError):
        from tilefarm.execute.process import free_memory, total_memory

        return free_memory(), total_memory()
    with suppress(ImportError):
        import psutil

        memory = psutil.virtual_memory()
        return memory.available, memory.total
    return None, None


def _disk(folder: str, total: bool) -> int | None:
    with suppress(OSError):
        usage = shutil.disk_usage(folder)
        return usage.total if total else usage.free
    return None


def _session_folder() -> str:
    """Where Ray puts objects that do not fit into memory."""
    node: Any = ray._private.worker._global_node
    return str(node.get_session_dir_path())


def _gpus() -> list[tuple[str, int]]:
    try:
        import torch

        found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    except (ImportError, OSError, RuntimeError):
        return []
    return [(str(each.name), int(each.total_memory)) for each in found]
