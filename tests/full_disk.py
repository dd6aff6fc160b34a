"""Renders on a small file system that is full again and again, with stand-in work; tells what happened.

python tests/full_disk.py FOLDER HOW: FOLDER is a file system of its own and holds job.yaml. HOW is `rising`:
a little more room in every session; `suddenly`: none any more after an event, or after the next one where
that brought nothing on record; `limited`: room enough, but no file may be longer than a bound that rises;
`again`: the finished picture is written once more in other formats, with rising room.
Prints a JSON record: the files that there was no room for, and the temporary files that are left.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import tilefarm.driver
from tests.standins import Mixer, opener
from tilefarm.driver import render, run_folder
from tilefarm.errors import ResourceError
from tilefarm.events import Event
from tilefarm.execute.open import ExecutorChoice
from tilefarm.solve.contract import Weights
from tilefarm.spec.load import load_job

PAGE = 4096
SMALL = 2**25
"""Only a file system with less room than this is filled."""
MOST_SESSIONS = 400
_BALLAST = ".ballast"


def free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def fill(folder: Path, left: int) -> None:
    """Leave so much room."""
    ballast = folder / _BALLAST
    size = ballast.stat().st_size if ballast.exists() else 0
    wanted = size + free_bytes(folder) - left
    with ballast.open("ab") as file:
        if wanted < size:
            file.truncate(wanted)
        elif wanted > size:
            os.posix_fallocate(file.fileno(), 0, wanted)


def empty(folder: Path) -> None:
    (folder / _BALLAST).unlink(missing_ok=True)


class Sessions:
    """Of one job, until it is done."""

    def __init__(self, folder: Path, overrides: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.job = load_job(folder / "job.yaml", overrides)
        self.run = run_folder(self.job, folder / "runs")
        self.full: list[str] = []
        self.finished = [self.job.output.path]
        if self.job.animation is not None:
            self.finished.append(self.job.animation.path)

    def session(self, listen: Callable[[Event], None] = lambda event: None) -> bool:
        """Whether it came to its end. Nothing but a ResourceError may keep it from that."""
        before = {path: path.read_bytes() for path in self.finished if path.exists()}
        try:
            render(self.job, self.run, ExecutorChoice("local"), listen, opener(Mixer()))
        except ResourceError as error:
            self.full.append(str(error).split(" needs ")[0].split(" while ")[-1].split(" was written")[0])
            for path, data in before.items():
                assert path.read_bytes() == data, f"{path} was touched"
            return False
        return True

    def rising(self) -> None:
        room = 0
        while True:
            empty(self.folder)
            fill(self.folder, room)
            if self.session():
                return
            assert len(self.full) < MOST_SESSIONS
            stuck = self.full[-3:]
            room += PAGE * (1 if len(stuck) < 3 or len({*stuck}) > 1 else 32)

    def limited(self) -> None:
        limit, (_, most) = 100.0, resource.getrlimit(resource.RLIMIT_FSIZE)
        while True:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), most))
            done = self.session()
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            if done:
                return
            limit *= 1.3

    def suddenly(self) -> None:
        number, on_record = 1, -1
        while True:
            lines = self.run.journal.read_bytes().count(b"\n") if self.run.journal.exists() else 0
            number = 1 if lines > on_record else number + 1
            on_record, left = lines, number

            def listen(event: Event) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    fill(self.folder, 0)

            empty(self.folder)
            if self.session(listen):
                return
            assert len(self.full) < MOST_SESSIONS


def main() -> None:
    folder, how = Path(sys.argv[1]), sys.argv[2]
    assert how in ("again", "limited") or free_bytes(folder) < SMALL, "a whole disk would be filled"
    tilefarm.driver.check_disk = lambda *_: None  # type: ignore[attr-defined]  # which would refuse at once
    tilefarm.driver.load_weights = lambda *_: Weights({}, "caffe", "none")  # type: ignore[attr-defined]
    every = []
    if how == "again":
        assert Sessions(folder).session()
        for name in ("again.png", "again.jpg", "again.tif"):
            every.append(sessions := Sessions(folder, (f"output.path={name}", "output.bit_depth=8")))
            if free_bytes(folder) < SMALL:
                sessions.rising()
            else:
                assert sessions.session()
    else:
        every.append(sessions := Sessions(folder))
        getattr(sessions, how)()
    empty(folder)
    full = [name for sessions in every for name in sessions.full]
    left = sorted(path.name for path in folder.rglob(".*"))
    print(json.dumps({"full": full, "left": left, "files": sorted(path.name for path in folder.iterdir())}))


if __name__ == "__main__":
    main()
