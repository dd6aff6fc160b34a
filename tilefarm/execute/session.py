"""The folder of an embedded Ray: ours alone, short, removed at the end, and by the next start if not then."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from tilefarm.execute.guardian import clear, end_guardian, start_guardian

PREFIX = "tfray-"
_LONGEST_BASE = 24
"""Bytes. Ray puts sockets into `BASE/tfray-XXXXXXXX/r/session_DATE_TIME_PID/sockets/plasma_store`, and the
system allows 107 for the whole."""
_SHORT_BASE = Path("/tmp")


class Session:
    """A folder with mode 700 that this process holds a lock on, and its guardian."""

    def __init__(self, base: Path | None = None) -> None:
        """Make the folder in `base`, by default the system's for temporary files, and start the guardian.

        What dead drivers left there is removed first.
        """
        base = base or _base()
        remove_stale(base)
        self._folder, self._lock = _locked_folder(base)
        self._guardian = start_guardian(self._folder)

    @property
    def ray_folder(self) -> Path:
        """Ray's own part, which it makes readable for everybody: the folder around it is not."""
        return self._folder / "r"

    def close(self) -> None:
        """End what is left of the session's processes and remove the folder."""
        end_guardian(self._guardian)
        os.close(self._lock)


def remove_stale(base: Path) -> None:
    """Remove the folders of drivers that are gone, with the processes that they left."""
    for folder in base.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                clear(folder)
            finally:
                os.close(descriptor)


def _base() -> Path:
    base = Path(tempfile.gettempdir())
    return base if len(os.fsencode(base)) <= _LONGEST_BASE else _SHORT_BASE


def _locked_folder(base: Path) -> tuple[Path, int]:
    """A new folder and a descriptor that holds its lock, which the kernel frees when the process ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another start took it for a stale one
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if folder.is_dir():
                return folder, descriptor
        os.close(descriptor)
