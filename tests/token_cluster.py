"""A Ray cluster started the way cluster/desk/README.md says, with a token."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tilefarm.execute import tokens
from tilefarm.execute.cluster import LOOPBACK

RAY = Path(sys.executable).parent / "ray"
START_SECONDS = 120.0
TOKEN = "0123456789abcdef" * 4


def clean_environment(**more: str) -> dict[str, str]:
    """Without anything of Ray's that this process may have set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    patient = {"RAY_raylet_start_wait_time_s": "120"}  # on a busy machine half a minute is too short
    return kept | patient | {"RAY_USAGE_STATS_ENABLED": "0"} | more


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true in {seconds:.0f} s"
        time.sleep(0.05)


@dataclass
class TokenCluster:
    """Nodes as `ray start --block` makes them; `folder` must have a short path.

    On loopback alone Ray allows one node; several listen to other machines, and ask them for the token.
    """

    folder: Path
    loopback: bool = True
    dashboard: bool = False
    port: int = field(default_factory=free_port)
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    @property
    def environment(self) -> dict[str, str]:
        """What a driver needs to join."""
        return clean_environment(RAY_AUTH_TOKEN_PATH=str(self.token_file), **self._network)

    @property
    def _network(self) -> dict[str, str]:
        return LOOPBACK if self.loopback else {}

    def start_head(self, *options: str) -> None:
        self.token_file.touch(0o600)
        self.token_file.write_text(TOKEN)
        shown = ["--dashboard-port", str(free_port())] if self.dashboard else ["--include-dashboard=false"]
        temporary = ["--temp-dir", str(self.folder / "r")]
        self._start({}, "--head", "--port", str(self.port), *temporary, *shown, *options)

    def add_node(self, more: Mapping[str, str], *options: str) -> None:
        """One more node, whose environment has more in it."""
        self._start(more, "--address", self.address, *options)

    def door(self) -> str:
        """How it looks from outside; asked with the cluster's own settings of the network."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._network.items():
                patch.setenv(name, value)
            return tokens.look_at_door(self.address)

    def is_up(self, number: int) -> bool:
        """Whether a node has told that it runs."""
        log = (self.folder / f"node{number}.log").read_text(errors="replace")
        assert self.nodes[number].poll() is None, log
        return "Ray runtime started" in log

    def raylet(self, number: int) -> psutil.Process:
        """The process that stands for a node."""
        (found,) = [
            process
            for process in psutil.Process(self.nodes[number].pid).children(recursive=True)
            if process.name() == "raylet"
        ]
        return found

    def close(self) -> None:
        """End the nodes and whatever of theirs is left: all that names the folder."""
        mine = [process for process in psutil.process_iter(["cmdline"]) if self._names_folder(process)]
        known = [psutil.Process(node.pid) for node in self.nodes if node.poll() is None]
        for process in mine + known:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for node in self.nodes:
            node.wait()
        psutil.wait_procs(mine, timeout=START_SECONDS)

    def _names_folder(self, process: psutil.Process) -> bool:
        return any(f"{self.folder}/" in part for part in process.info["cmdline"] or ())

    def _start(self, more: Mapping[str, str], *options: str) -> None:
        environment = self.environment | {"RAY_AUTH_MODE": "token"} | dict(more)
        agent = ["--dashboard-agent-listen-port", str(free_port())]
        command = [str(RAY), "start", "--block", "--disable-usage-stats", "--num-cpus=1", *agent, *options]
        with (self.folder / f"node{len(self.nodes)}.log").open("wb") as log:
            self.nodes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
