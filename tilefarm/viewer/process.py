"""The server's process: in the foreground of `tilefarm watch`, and beside the driver of `submit --watch`.

The second one is a process of its own, so that viewers take no time from the driver's interpreter. It reads
the folders of runs from a pipe that only the driver holds: the pipe's end is the driver's, however it ended.
"""

from __future__ import annotations

import getpass
import os
import platform
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tilefarm.rundir.layout import RunDir
from tilefarm.viewer.turn import Turn, from_line, to_line

TOKEN_BYTES = 24
"""Of randomness: 32 characters in the address."""
NICENESS = 10
"""The farm comes first."""
START_SECONDS = 30.0
_END_SECONDS = 3.0
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[1:]; from tilefarm.viewer.process import serve_child; serve_child()"
)


def announcement(address: str) -> list[str]:
    """Where to look, for people: the address, and the way to it from another machine."""
    port = address.split(":")[2].split("/")[0]
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user here, as in some containers
        user = "USER"
    tunnel = f"ssh -L {port}:127.0.0.1:{port} {user}@{platform.node() or 'HOST'}"
    return [f"watch it at {address}", f"from another machine, first: {tunnel}"]


def serve(run: RunDir, port: int, say: Callable[[str], None]) -> None:
    """Serve a run's page until Ctrl-C. Raises JobError where the port is taken."""
    from tilefarm.viewer.connections import allow_many_connections
    from tilefarm.viewer.server import PageServer
    from tilefarm.viewer.watched import Watched

    allow_many_connections()
    _give_way()
    server = PageServer(Watched(run), secrets.token_urlsafe(TOKEN_BYTES), port)
    for line in announcement(server.address):
        say(line)
    say("Ctrl-C ends the page, and not the run")
    server.serve_until_stopped()


class Companion:
    """A server beside this process, which ends with it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def show(self, run: RunDir, turn: Turn | None = None) -> str | None:
        """Have the page show this run, which may be one of several. The address the first time; None later.

        None also where the server did not start: a render does not depend on it.
        """
        first = self._process is None
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                text=True,
                start_new_session=True,  # Ctrl-C does not reach it: it ends with this process
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.write(to_line(run, turn))
            self._process.stdin.flush()
        if not first or not select.select([self._process.stdout], [], [], START_SECONDS)[0]:
            return None
        return self._process.stdout.readline().strip() or None

    def close(self) -> None:
        """End the server."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                assert stream is not None
                stream.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Companion:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve_child() -> None:
    """The companion's life: show the runs that stdin names, one a line, until it ends."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    from tilefarm.viewer.connections import allow_many_connections
    from tilefarm.viewer.server import LOOK_SECONDS, PageServer
    from tilefarm.viewer.watched import Watched

    allow_many_connections()
    _give_way()
    first = sys.stdin.readline()
    if not first:
        return
    run, turn = from_line(first)
    watched = Watched(run, turn=turn)
    server = PageServer(watched, secrets.token_urlsafe(TOKEN_BYTES))

    def obey() -> None:
        for line in sys.stdin:
            watched.follow(*from_line(line))
        timer = threading.Timer(_END_SECONDS - 0.5, os._exit, [0])  # whatever a viewer's request is at
        timer.daemon = True
        timer.start()
        if watched.viewers:
            watched.refresh()
            time.sleep(1.2 * LOOK_SECONDS)  # they are told how the run has ended
        server.should_exit = True

    threading.Thread(target=obey, daemon=True).start()
    print(server.address, flush=True)
    server.serve_until_stopped()
    os._exit(0)


def _give_way() -> None:
    with suppress(OSError):
        os.nice(NICENESS)
