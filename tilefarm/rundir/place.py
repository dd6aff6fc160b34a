"""Whether there is a place for a run folder: what the system says, as a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tilefarm.errors import JobError, ResourceError
from tilefarm.files import DISK_FULL


@contextmanager
def telling_of_place(root: Path, way: str = "choose another place with --run-dir") -> Iterator[None]:
    """Within the block, which makes and locks the run folder `root`, an error of the system is told.

    Raises ResourceError for a full disk, else JobError: a file is in the folder's place, its file system is
    read-only or has no locks, a link leads nowhere ... `way` is the way out of that.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise ResourceError(
                f"the disk became full while {root} was made; free some space and start it again"
            ) from error
        raise JobError(
            f"the run folder {root} cannot be used ({error.strerror}); it must be a folder that can be "
            f"written, on a file system that has locks: {way}"
        ) from error
