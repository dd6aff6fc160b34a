"""Cleaning up behind an embedded Ray, however the driver ended: by a process that outlives it for a moment.

When a driver is killed, the kernel kills the raylet and the GCS with it (Ray asks for that), and its workers
notice within seconds, but two agents stay for more than a minute (measured with Ray 2.60), and the folder of
the session for ever. The guardian reads from a pipe that only the driver holds: its end is the driver's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

END_SECONDS = 10.0
_POLL_SECONDS = 0.05
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from tilefarm.execute.guardian import guard; guard(sys.argv[1], int(sys.argv[2]))"
)


def start_guardian(folder: Path) -> subprocess.Popen[bytes]:
    """Start the guardian of a session's folder, in a session of its own: Ctrl-C does not reach it."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(folder), str(os.getpid()), *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def end_guardian(guardian: subprocess.Popen[bytes]) -> None:
    """Have the guardian do its work now, and wait for it."""
    assert guardian.stdin is not None
    guardian.stdin.close()
    try:
        guardian.wait(END_SECONDS + 1)
    except subprocess.TimeoutExpired:
        guardian.kill()
        guardian.wait()


def guard(folder: str, driver: int) -> None:
    """The guardian's life: wait for the driver's end, then end what it left and remove the folder."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a whole group is stopped: it is needed now
    sys.stdin.buffer.read()
    clear(Path(folder), driver)


def clear(folder: Path, spared: int = 0) -> None:
    """End all processes that write into the folder, except `spared`, and remove it."""
    end = time.monotonic() + END_SECONDS
    while (writers := writing_into(folder, spared)) and time.monotonic() < end:
        for process in writers:
            try:
                process.kill()
            except psutil.Error:
                continue  # gone already
        time.sleep(_POLL_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def writing_into(folder: Path, spared: int = 0) -> list[psutil.Process]:
    """All processes with a file of the folder open for writing, but this one and `spared`.

    Ray's have their logs there. Their environment and command line are no marks: Ray overwrites them.
    """
    found = []
    beginning = f"{folder.resolve()}/"
    for process in psutil.process_iter():
        if process.pid in (os.getpid(), spared):
            continue
        try:
            files = process.open_files()
        except (psutil.Error, OSError):
            continue  # somebody else's, or gone
        if any(file.path.startswith(beginning) and getattr(file, "mode", "w") != "r" for file in files):
            found.append(process)
    return found
