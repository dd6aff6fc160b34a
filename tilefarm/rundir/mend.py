"""A journal with a damaged line: kept as it is under another name, and cut off before that line.

What the lines after it spoke of counts as not done. Pixels need no such care: the lines that are left hold
the checksums that canvases, targets and slots must have, and what has others is made again.
"""

from __future__ import annotations

from pathlib import Path

from tilefarm.files import replacing, telling_when_full
from tilefarm.rundir.journal import DamagedLineError, read_journal
from tilefarm.rundir.layout import RunDir


def mend_journal(run: RunDir) -> str | None:
    """Make the journal readable again; a sentence for the user where it was not.

    Only the holder of the run's lock may call this. Raises JobError for a newer version's journal,
    ResourceError where the disk is full.
    """
    try:
        for _ in read_journal(run.journal):
            pass
    except DamagedLineError as damage:
        whole = run.journal.read_bytes()
        aside = _unused(run)
        _write(aside, whole)
        _write(run.journal, whole[: damage.offset])
        return (
            f"line {damage.number} of {run.journal} was damaged, so what came after it is done again where "
            f"the disk does not hold it; the damaged file is kept as {aside.name}"
        )
    return None


def _unused(run: RunDir) -> Path:
    number = 1
    while (path := run.damaged_journal(number)).exists():
        number += 1
    return path


def _write(path: Path, data: bytes) -> None:
    with telling_when_full(path), replacing(path) as temporary:
        temporary.write_bytes(data)
