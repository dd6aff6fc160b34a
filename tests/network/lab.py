"""Machines on one machine: each a set of namespaces with its own network, processes, name and empty disks.

A switch (a bridge in a network namespace that nobody else is in) connects them. Nothing has a name in the
file system: namespaces live as long as their first process, which ends when the pipe does that this process
holds. So whatever becomes of the test, the kernel takes processes, links and mounts away with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

DATA = Path("/mnt")
"""Where every machine has an empty disk of its own, in memory; a short name, as Ray makes sockets there."""
NETWORK = "10.77.0."
START_SECONDS = 30.0
_FIRST_PROCESS = "{commands}; echo ready; exec env --ignore-signal=CHLD cat >/dev/null"
"""Of a namespace: waits for the end of its input, and no process that is left to it stays as a zombie."""
_SWITCH = "set -e; ip link set lo up; ip link add switch type bridge; ip link set switch up"
_MACHINE = (
    "set -e; hostname {name}; ip link set lo up; mount -t tmpfs none /dev/shm; mount -t tmpfs none {data}; "
    "mkdir -m 700 {data}/home {data}/tmp"
)


def why_not() -> str | None:
    """Why machines cannot be made here; None where they can."""
    missing = [tool for tool in ("ip", "tc", "unshare", "nsenter") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} absent: install iproute2 and util-linux"
    if any(Path(path).is_relative_to(DATA) for path in (sys.prefix, sys.base_prefix, __file__)):
        return f"the programs are in {DATA}, which each machine has a disk of its own at"
    try:
        with Lab() as lab:
            lab.add("probe")
    except (OSError, LabError) as error:
        return f"no network namespaces here: {error}"
    return None


class LabError(Exception):
    """A namespace or a link could not be made."""


class _Space:
    """Namespaces and their first process."""

    def __init__(self, kinds: Sequence[str], commands: str, outer: Sequence[str] = ()) -> None:
        """`kinds` are options of unshare; `outer` is a command prefix that enters the namespaces around."""
        script = _FIRST_PROCESS.format(commands=commands)
        self._holder = subprocess.Popen(
            [*outer, "unshare", *kinds, "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline() != b"ready\n":
            self._holder.kill()
            message = self._holder.stderr.read().decode(errors="replace").strip()
            self.close()
            raise LabError(message or "unshare failed")
        self.first: int = psutil.Process(self._holder.pid).children(recursive=True)[-1].pid
        """The id of the first process, as it is out here."""

    @property
    def enter(self) -> list[str]:
        """A command prefix that runs a command inside."""
        return ["nsenter", "--target", str(self.first), "--all"]

    def do(self, *command: str) -> None:
        """Run a command inside. Raises LabError where it fails."""
        done = subprocess.run([*self.enter, *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")

    @property
    def is_there(self) -> bool:
        """Whether it was not closed yet."""
        return self._holder.poll() is None

    def close(self) -> None:
        """End the first process, and with it, by the kernel, all others inside."""
        if hasattr(self, "first"):
            with suppress(ProcessLookupError):
                os.kill(self.first, signal.SIGKILL)
        self._holder.wait()
        for pipe in (self._holder.stdin, self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                pipe.close()


class Machine:
    """One machine: its processes have a network of their own and an empty disk at `DATA`."""

    def __init__(self, switch: _Space, number: int, name: str) -> None:
        commands = _MACHINE.format(name=name, data=DATA)
        self._switch, self._space = switch, _Space(("--net", "--uts"), commands, switch.enter)
        self.name = name
        self.address = f"{NETWORK}{number}"
        self._port = f"port{number}"
        self._started: list[subprocess.Popen[bytes]] = []
        self._plug_in()

    def _plug_in(self) -> None:
        inside = Path(f"/proc/{self._space.first}/status").read_text()
        (numbers,) = [line for line in inside.splitlines() if line.startswith("NSpid:")]
        here = numbers.split()[-2]  # the first process, as those around the switch know it
        switch, space = self._switch, self._space
        switch.do(*f"ip link add {self._port} type veth peer name eth0 netns {here}".split())
        switch.do(*f"ip link set {self._port} master switch up".split())
        space.do(*f"ip address add {self.address}/24 dev eth0".split())
        space.do("ip", "link", "set", "eth0", "up")

    @property
    def first(self) -> int:
        """The id of its first process, as it is out here."""
        return self._space.first

    @property
    def is_up(self) -> bool:
        """Whether nobody has killed it."""
        return self._space.is_there

    @property
    def disk(self) -> Path:
        """Its empty disk, seen from here."""
        return Path(f"/proc/{self._space.first}/root{DATA}")

    def command(self, *words: object) -> list[str]:
        """What to run out here so that a command runs in its namespaces, with its home and disk there."""
        own = (f"HOME={DATA / 'home'}", f"TMPDIR={DATA / 'tmp'}")
        return [*self._space.enter, f"--wd={DATA}", "env", *own, *map(str, words)]

    def start(
        self, *words: object, environment: Mapping[str, str], log: Path = Path(os.devnull)
    ) -> subprocess.Popen[bytes]:
        """Start a program there. What it says is added to the file `log`, out here."""
        with log.open("ab") as output:
            program = subprocess.Popen(
                self.command(*words),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._started.append(program)
        return program

    def cut(self) -> None:
        """Pull its cable out."""
        self._switch.do("ip", "link", "set", self._port, "down")

    def mend(self) -> None:
        """Plug its cable in again."""
        self._switch.do("ip", "link", "set", self._port, "up")

    @contextmanager
    def slowed(self, megabits: float) -> Iterator[None]:
        """So many megabits per second in each direction."""
        shape = f"tbf rate {megabits}mbit burst 128kb latency 200ms"
        ends = ((self._switch, self._port), (self._space, "eth0"))
        for space, device in ends:
            space.do(*f"tc qdisc replace dev {device} root {shape}".split())
        try:
            yield
        finally:
            for space, device in ends:
                space.do(*f"tc qdisc del dev {device} root".split())

    def traffic(self) -> tuple[int, int]:
        """Bytes that its network card has received and sent so far."""
        for line in Path(f"/proc/{self._space.first}/net/dev").read_text().splitlines():
            device, _, counts = line.partition(":")
            if device.strip() == "eth0":
                fields = counts.split()
                return int(fields[0]), int(fields[8])
        raise LabError(f"{self.name} has no network card")

    def processes(self) -> list[psutil.Process]:
        """All that runs on it, but its first process."""
        first = self._space.first
        found = []
        for process in psutil.process_iter():
            with suppress(OSError):
                if _namespace(process.pid) == _namespace(first) and process.pid != first:
                    found.append(process)
        return found

    def kill(self) -> None:
        """The power fails: all of its processes are killed at once, and its disk is gone."""
        self._space.close()
        for program in self._started:
            program.wait()


def _namespace(process: int) -> str:
    """Of its process ids. Raises OSError where it is gone."""
    return str(Path(f"/proc/{process}/ns/pid").readlink())


class Lab:
    """A switch and the machines on it. A context manager: everything is gone at the end."""

    def __enter__(self) -> Lab:
        user = () if os.geteuid() == 0 else ("--map-root-user",)
        self._switch = _Space((*user, "--net"), _SWITCH)
        self._machines: list[Machine] = []
        return self

    def __exit__(self, *_: object) -> None:
        self._switch.close()  # the machines are inside
        for machine in self._machines:
            machine.kill()

    def add(self, name: str) -> Machine:
        """Another machine, plugged in."""
        machine = Machine(self._switch, len(self._machines) + 1, name)
        self._machines.append(machine)
        return machine
