"""The memory that a process may use, in and outside of containers."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tilefarm.execute import process

GIB = 2**30


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 GiB with 48 free, and the folder where its container's limits would be."""
    memory = SimpleNamespace(available=48 * GIB, total=64 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(process, "_CGROUP", tmp_path)
    return tmp_path


def write(folder: Path, **files: object) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_without_a_container_the_machine_counts(cgroup: Path) -> None:
    assert (process.free_memory(), process.total_memory()) == (48 * GIB, 64 * GIB)
    write(cgroup, memory__max="max", memory__current=5 * GIB)
    assert (process.free_memory(), process.total_memory()) == (48 * GIB, 64 * GIB)


def test_a_containers_limit_counts_and_cached_files_do_not(cgroup: Path) -> None:
    statistics = f"anon {3 * GIB}\ninactive_file {GIB}\nactive_file {GIB}"
    write(cgroup, memory__max=8 * GIB, memory__current=5 * GIB, memory__stat=statistics)
    assert (process.free_memory(), process.total_memory()) == (5 * GIB, 8 * GIB)
    write(cgroup, memory__current=11 * GIB)
    assert process.free_memory() == 0


def test_the_older_kind_of_container(cgroup: Path) -> None:
    statistics = f"total_inactive_file {GIB}\ntotal_active_file 0"
    limits = {"memory__limit_in_bytes": 8 * GIB, "memory__usage_in_bytes": 3 * GIB}
    write(cgroup / "memory", **limits, memory__stat=statistics)
    assert process.free_memory() == 6 * GIB
    write(cgroup / "memory", memory__limit_in_bytes=2**63 - 4096)  # no limit
    assert (process.free_memory(), process.total_memory()) == (48 * GIB, 64 * GIB)


def test_processes_that_the_kernel_ended_are_counted(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_VMSTAT", cgroup / "vmstat")
    assert process.memory_kills() == 0
    write(cgroup, vmstat="nr_free_pages 7\noom_kill 2\ndrop_pagecache 1")
    assert process.pulse().memory_kills == 2
    write(cgroup, memory__events="low 0\noom 1\noom_kill 3")
    assert process.memory_kills() == 5
    write(cgroup, memory__events="no numbers at all")
    assert process.memory_kills() == 2


KEPT = """
import sys
import numpy as np
import psutil
from tilefarm.execute.process import give_back_large_blocks

if sys.argv[1] == "give back":
    give_back_large_blocks()
del (blocks := [np.ones(2**20) for _ in range(2)])[:]  # frees 8 MiB blocks: glibc's own limit rises
blocks = [np.ones(2**20 - 2**13) for _ in range(40)]
pin = np.ones(2**18)  # lies above them
full = psutil.Process().memory_info().rss
del blocks
print((full - psutil.Process().memory_info().rss) // 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps large blocks")
def test_large_blocks_go_back_to_the_system() -> None:
    def given_back(how: str) -> int:
        process = subprocess.run(
            [sys.executable, "-c", KEPT, how], capture_output=True, text=True, check=True, timeout=60
        )
        return int(process.stdout)

    assert given_back("keep") < 100
    assert given_back("give back") > 300
