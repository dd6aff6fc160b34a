"""Where a cluster's head keeps what laptops have sent and what their jobs have made.

    ROOT/files/SHA256             the files of all jobs, each once
    ROOT/files/SHA256.N.part      of a file that is being sent, its first N bytes
    ROOT/jobs/ID/                 a job file, its inputs (links to `files`) and its results
    ROOT/runs/ID/                 the run folder
    ROOT/offers/TOKEN/            what a fetch has asked for, in parts, until it is done

ROOT also appears as `tilefarm` in the folder of the Ray session's logs: the job server hands out files from
there, through symbolic links too, and so a laptop reads records without a process on the head.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from platformdirs import user_data_path

from tilefarm.errors import ClusterError
from tilefarm.rundir.layout import RunDir

ROOT_VARIABLE = "TILEFARM_JOBS"
"""Environment variable of the head's nodes: another place than the user's data folder."""
LINK = "tilefarm"
"""Name of the link in the folder of the logs."""


@dataclass(frozen=True)
class Home:
    """The names in the head's folder; also, relative to `LINK`, those that a laptop asks the server for."""

    root: Path

    @property
    def files(self) -> Path:
        """The folder of files by content."""
        return self.root / "files"

    def file(self, sha256: str) -> Path:
        """A whole file."""
        return self.files / sha256

    def begun(self, sha256: str, size: int) -> Path:
        """The first `size` bytes of a file."""
        return self.files / f"{sha256}.{size}.part"

    def job(self, name: str) -> Path:
        """The folder of a job file with what it names."""
        return self.root / "jobs" / name

    @property
    def runs(self) -> Path:
        """The folder of run folders."""
        return self.root / "runs"

    def run(self, name: str) -> RunDir:
        """A job's run folder."""
        return RunDir(self.runs / name)

    @property
    def offers(self) -> Path:
        """The folder of what fetches have asked for."""
        return self.root / "offers"

    def offer(self, token: str) -> Path:
        """The list of files of one fetch."""
        return self.offers / token / "files.json"

    def part(self, token: str, number: int) -> Path:
        """A part of one of them."""
        return self.offers / token / f"{number}.part"


def home_here() -> Home:
    """This machine's, made where it is missing, for its user alone."""
    place = os.environ.get(ROOT_VARIABLE)
    root = Path(place).expanduser().absolute() if place else user_data_path("tilefarm") / "cluster"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    home = Home(root)
    for folder in (home.files, home.runs, home.offers):
        folder.mkdir(exist_ok=True)
    return home


def session_logs() -> Path:
    """The folder of the Ray session's logs: that of the file that a job's standard output goes to.

    Raises ClusterError where this process is not the entrypoint of a Ray job.
    """
    with suppress(OSError):
        log = Path("/proc/self/fd/1").readlink()
        if log.name.startswith("job-driver-"):
            return log.parent
    raise ClusterError("this program is started by a Ray job, on the cluster's head")


def show_in_logs(home: Home, logs: Path) -> None:
    """Have the job server hand out the head's folder."""
    link = logs / LINK
    if link.is_symlink() and link.resolve() == home.root.resolve():
        return
    temporary = link.with_name(f".{LINK}.{os.getpid()}")
    temporary.symlink_to(home.root)
    temporary.replace(link)


def is_inside(place: str) -> bool:
    """Whether a relative path in POSIX form stays below the folder that it starts from."""
    path = PurePosixPath(place)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in place
