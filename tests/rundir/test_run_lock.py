"""One driver per run, enforced by the kernel between real processes."""

from __future__ import annotations

import fcntl
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from tilefarm.errors import JobError
from tilefarm.rundir.layout import RunDir, RunLock, is_locked

HOLDER = """
import subprocess, sys
from pathlib import Path
from tilefarm.rundir.layout import RunDir, RunLock
with RunLock(RunDir(Path(sys.argv[1]))):
    child = None
    if sys.argv[2] == "with child":
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    print(child.pid if child else 0, flush=True)
    sys.stdin.readline()
"""
TAKER = """
import sys
from pathlib import Path
from tilefarm.errors import TilefarmError
from tilefarm.rundir.layout import RunDir, RunLock
try:
    RunLock(RunDir(Path(sys.argv[1])))
except TilefarmError as error:
    print(error)
    raise SystemExit(error.exit_code)
"""


@contextmanager
def holding(run: RunDir, how: str = "alone") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that holds the lock until the block ends, and its child's id or 0."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.root), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process, int(process.stdout.readline())


def test_a_second_process_is_refused_and_told_who_works(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs" / "gate-12345678")
    assert not is_locked(run)
    assert not run.root.exists(), "asking must not create anything"
    with holding(run) as (process, _):
        assert is_locked(run)
        with pytest.raises(JobError) as caught:
            RunLock(run)
        begin = f"{run.root} is being worked on by process {process.pid} on {platform.node()} since 20"
        assert str(caught.value).startswith(begin)
        assert str(caught.value).endswith(f"; wait for it, or stop it with: tilefarm cancel {run.root}")
        assert caught.value.exit_code == 2
        assert is_locked(run), "a refused process must not take the lock away"
    assert process.returncode == 0
    assert not is_locked(run)


def test_we_refuse_others_too_and_name_ourselves(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with holding(run):
        pass  # leaves its own id in the file
    with RunLock(run):
        taker = subprocess.run([sys.executable, "-c", TAKER, str(run.root)], capture_output=True, text=True)
        assert taker.returncode == 2
        assert f"process {os.getpid()} on" in taker.stdout
        with pytest.raises(JobError, match=f"process {os.getpid()}"):
            RunLock(run)
    taker = subprocess.run([sys.executable, "-c", TAKER, str(run.root)], capture_output=True, text=True)
    assert (taker.returncode, taker.stdout) == (0, "")


@pytest.mark.parametrize("how", ["alone", "with child"])
def test_killing_the_holder_frees_the_lock_even_while_its_children_live(tmp_path: Path, how: str) -> None:
    run = RunDir(tmp_path)
    with holding(run, how) as (process, child):
        try:
            process.kill()
            assert process.wait() == -signal.SIGKILL
            assert not is_locked(run)
            with RunLock(run):
                assert is_locked(run)
        finally:
            if child:
                os.kill(child, signal.SIGKILL)


def test_looking_does_not_take_the_lock(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with RunLock(run):
        pass
    assert not is_locked(run)
    with RunLock(run):
        assert is_locked(run)
        assert is_locked(run)


def test_a_folder_that_is_moved_aside_before_it_is_locked_is_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `submit --fresh` does: a lock on the old folder would let two drivers into the new one."""
    run = RunDir(tmp_path / "job")
    run.root.mkdir()
    flock = fcntl.flock

    def slow(file: TextIO, how: int) -> None:
        if not (tmp_path / "job.old-1").exists():
            run.root.rename(tmp_path / "job.old-1")
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with RunLock(run):
        assert is_locked(run)
        assert not is_locked(RunDir(tmp_path / "job.old-1"))
        with pytest.raises(JobError):
            RunLock(run)
