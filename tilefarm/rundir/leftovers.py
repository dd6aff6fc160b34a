"""What a killed driver leaves lying about: files that were about to replace others, and working folders."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from tilefarm.rundir.layout import RunDir


def clear_leftovers(run: RunDir, outputs: Iterable[Path]) -> None:
    """Remove them from the run folder, which the caller has locked, and from beside the files in `outputs`.

    Beside those, files of a process that is alive stay: another run may write there.
    """
    folders = [run.root, run.snapshots, run.previews]
    for leftover in [path for folder in folders for path in folder.glob(".*")]:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    for output in outputs:
        temporary = re.compile(rf"\.{re.escape(output.name)}\.(\d+)\.part{re.escape(output.suffix)}")
        for leftover in output.parent.glob(".*.part*"):
            found = temporary.fullmatch(leftover.name)
            if found is not None and not _is_alive(int(found[1])):
                leftover.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's
        return True
    return process != os.getpid()
