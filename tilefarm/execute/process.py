"""Facts about this process."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

_STATUS = Path("/proc/self/status")
_VMSTAT = Path("/proc/vmstat")
_CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells what a container may use; version 1 has a folder for memory in it."""
_M_MMAP_THRESHOLD = -3
"""Of mallopt, in glibc's malloc.h."""
_LARGE_BLOCK = 4 * 2**20


@dataclass(frozen=True)
class Pulse:
    """What a process says to show that it is there."""

    process: int
    node: str
    memory_kills: int
    """Processes of its machine that the kernel has ended for want of memory so far."""


def pulse() -> Pulse:
    """This process's."""
    return Pulse(os.getpid(), platform.node(), memory_kills())


def memory_kills() -> int:
    """How many processes the kernel has ended for want of memory, here or in this container.

    0 where it does not tell.
    """
    places = (_VMSTAT, _CGROUP / "memory.events", _CGROUP / "memory" / "memory.oom_control")
    return sum(_fields(place).get("oom_kill", 0) for place in places)


def give_back_large_blocks() -> None:
    """Let memory blocks of 4 MiB and more go back to the system when they are freed; glibc only.

    By itself glibc raises this limit to the largest block that was freed, up to 32 MiB, and keeps what is
    smaller. A worker on pieces of 1664x1664 pixels so peaked at 2.7 GiB and kept growing; now at 2.3 GiB,
    flat, for 3% more processor time on small pieces.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def free_memory() -> int:
    """Bytes that this process and its children can still use: the machine's, or its container's."""
    available = psutil.virtual_memory().available
    limit = _container_limit()
    return available if limit is None else max(0, min(available, limit - _container_use()))


def total_memory() -> int:
    """Bytes of the machine's memory, or of what its container may use."""
    total = psutil.virtual_memory().total
    limit = _container_limit()
    return total if limit is None else min(total, limit)


def _container_limit() -> int | None:
    return _number(_CGROUP / "memory.max") or _number(_CGROUP / "memory" / "memory.limit_in_bytes")


def _container_use() -> int:
    """Without cached files, which give way."""
    for folder, use in ((_CGROUP, "memory.current"), (_CGROUP / "memory", "memory.usage_in_bytes")):
        used = _number(folder / use)
        if used is not None:
            return max(0, used - _cached(folder / "memory.stat"))
    return 0


def _cached(statistics: Path) -> int:
    fields = _fields(statistics)
    names = ("inactive_file", "active_file")
    return sum(fields.get(f"total_{name}", fields.get(name, 0)) for name in names)


def _fields(path: Path) -> dict[str, int]:
    """Lines of a name and a number; none where there is no such file."""
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        return {name: int(value) for name, value in lines}
    except (OSError, ValueError):
        return {}


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, as for "max"."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def peak_rss() -> int:
    """The largest resident size of this process so far, in bytes.

    On Linux from VmHWM: getrusage also counts what the parent process had when it started this one.
    """
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
