"""What a killed driver leaves lying about: files that were about to replace others, and working folders."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from tilefarm.files import remove_leftovers
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
        remove_leftovers(output)
