"""Every file name of a run, in one place."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tilefarm.errors import RunBusyError
from tilefarm.files import telling_when_full
from tilefarm.rundir.holder import Holder, read_holder

LOCK_HELD = "{root} is being worked on by {holder}; wait for it, or stop it with: tilefarm cancel {root}"
_LOOKS, _LOOK_SECONDS = 5, 0.02


@dataclass(frozen=True)
class RunDir:
    """A run folder, `runs/NAME-HASH8`. Levels and styles count from 0, coarse to fine."""

    root: Path

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.root.name

    @property
    def lock(self) -> Path:
        """What the driver locks, and who that is."""
        return self.root / "lock"

    @property
    def job(self) -> Path:
        """The resolved job file."""
        return self.root / "job.yaml"

    @property
    def inputs(self) -> Path:
        """What the run was started with: the hashes of its input files, and its settings."""
        return self.root / "inputs.json"

    @property
    def plan(self) -> Path:
        """The plan: levels, grids, estimates."""
        return self.root / "plan.json"

    @property
    def journal(self) -> Path:
        """What is finished, one line each; with the tile slots the truth about the run."""
        return self.root / "journal.jsonl"

    def damaged_journal(self, number: int) -> Path:
        """A journal that was found damaged, from 1."""
        return self.root / f"journal.damaged-{number}"

    @property
    def events(self) -> Path:
        """One record per tile and per iteration summary, for people and plots."""
        return self.root / "events.jsonl"

    @property
    def live(self) -> Path:
        """How things stand at this moment, for displays; there while a driver works."""
        return self.root / "live.json"

    @property
    def pause(self) -> Path:
        """There while somebody wants the work to rest."""
        return self.root / "pause"

    @property
    def summary(self) -> Path:
        """The run's outcome: run.json."""
        return self.root / "run.json"

    @property
    def tiles(self) -> Path:
        """The tile slots of the round in progress."""
        return self.root / "tiles.f32"

    @property
    def previews(self) -> Path:
        """The folder of one small picture per level."""
        return self.root / "levels"

    def preview(self, level: int) -> Path:
        """The small picture of a finished level."""
        return self.previews / f"level-{level}.png"

    @property
    def snapshots(self) -> Path:
        """The folder of small copies of the picture on its way."""
        return self.root / "snapshots"

    def snapshot(self, level: int, step: int) -> Path:
        """A small copy of a level after so many steps; names sort by level and step."""
        return self.snapshots / f"level-{level:02}-step-{step:07}.jpg"

    @property
    def failed(self) -> Path:
        """The folder of what failed for good: a folder of inputs for each piece of work."""
        return self.root / "failed"

    @property
    def animation(self) -> Path:
        """What animation was made, and where it is."""
        return self.root / "animation.json"

    @property
    def deliveries(self) -> Path:
        """Which finished files were sent to addresses."""
        return self.root / "deliveries.json"

    @property
    def losses(self) -> Path:
        """The plot of the losses."""
        return self.root / "losses.png"

    @property
    def loss_table(self) -> Path:
        """The numbers of the plot."""
        return self.root / "losses.csv"

    def canvas(self, level: int) -> Path:
        """The memory-mapped float32 picture of a level."""
        return self.root / f"canvas-{level}.f32"

    def content(self, level: int) -> Path:
        """The content at a level's size, float32."""
        return self.root / f"content-{level}.f32"

    def style(self, level: int, number: int) -> Path:
        """A style picture at a level's size, float32."""
        return self.root / f"style-{level}-{number}.f32"

    def style_mask(self, level: int, number: int) -> Path:
        """The part of a style picture that is looked at, at a level's size, float32."""
        return self.root / f"style-mask-{level}-{number}.f32"

    def regions(self, level: int) -> Path:
        """Where the styles act, at a level's size, float32."""
        return self.root / f"regions-{level}.f32"

    def targets(self, level: int) -> Path:
        """The statistics that a level is compared with."""
        return self.root / f"targets-{level}.npz"

    def moments(self, level: int) -> tuple[Path, Path]:
        """Adam's mean gradient and mean square of a level, float32 like the canvas."""
        return self.root / f"gradient-{level}.f32", self.root / f"square-{level}.f32"

    def optimizer(self, level: int) -> Path:
        """The folder of the exact method's optimizer: its state and its vectors."""
        return self.root / f"optimizer-{level}"

    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.job.is_file()


class RunLock:
    """Held by the one driver of a run folder. The kernel frees it when the process ends, however it ends."""

    def __init__(self, run: RunDir) -> None:
        """Raises RunBusyError where another process holds it, ResourceError where the disk is full."""
        self._file = _locked_file(run)
        try:
            with telling_when_full(run.lock):
                self._file.truncate(0)
                self._file.write(Holder.this_process().model_dump_json() + "\n")
                self._file.flush()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others work on the run."""
        with suppress(OSError):  # what it could not write to a full disk
            self._file.close()

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _locked_file(run: RunDir) -> TextIO:
    """The lock file, locked; who merely looks whether it is, as `is_locked` does, has the lock for a moment.

    Opened anew at every try: the folder may be moved aside, with its lock, between opening and locking.
    """
    for _ in range(_LOOKS):
        with telling_when_full(run.lock):
            run.root.mkdir(parents=True, exist_ok=True)
            file = run.lock.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still_at(file, run.lock):
                return file
        except BlockingIOError:
            time.sleep(_LOOK_SECONDS)
        except BaseException:  # a file system without locks
            file.close()
            raise
        file.close()
    holder = read_holder(run.lock) or "another process"
    raise RunBusyError(LOCK_HELD.format(holder=holder, root=run.root))


def _is_still_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_locked(run: RunDir) -> bool:
    """Whether a driver is working on the run at this moment."""
    path = run.lock
    if not path.exists():
        return False
    with path.open("r") as file:  # a shared lock needs no right to write
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks, on which no driver works
            return False
    return False
