"""A journal with a damaged line: kept as it is under another name, and made readable.

A single bit that has flipped is turned back, and nothing is lost. Where more is wrong the journal is cut off
before the line, and what the lines after it spoke of counts as not done. Pixels need no such care: the lines
that are left hold the checksums that canvases, targets and slots must have; what has others is made again.
"""

from __future__ import annotations

from pathlib import Path

from tilefarm.files import replacing, telling_when_full
from tilefarm.rundir.journal import DamagedLineError, read_journal
from tilefarm.rundir.layout import RunDir
from tilefarm.sealed import turned_back


def mend_journal(run: RunDir) -> str | None:
    """Make the journal readable again; a sentence for the user where it was not.

    Only the holder of the run's lock may call this. Raises JobError for a newer version's journal,
    ResourceError where the disk is full.
    """
    damage = _first_damage(run.journal)
    if damage is None:
        return None
    aside, turned = _unused(run), []
    _write(aside, run.journal.read_bytes())
    while damage is not None:
        whole = run.journal.read_bytes()
        mended = _with_a_bit_turned_back(whole, damage.offset)
        _write(run.journal, whole[: damage.offset] if mended is None else mended)
        if mended is None:
            return (
                f"line {damage.number} of {run.journal} was damaged, so what came after it is done again "
                f"where the disk does not hold it; the damaged file is kept as {aside.name}"
            )
        turned.append(str(damage.number))
        damage = _first_damage(run.journal)
    return (
        f"a bit had flipped in line {', '.join(turned)} of {run.journal}: it was turned back and nothing is "
        f"lost; the damaged file is kept as {aside.name}"
    )


def _first_damage(journal: Path) -> DamagedLineError | None:
    try:
        for _ in read_journal(journal):
            pass
    except DamagedLineError as damage:
        return damage
    return None


def _with_a_bit_turned_back(whole: bytes, offset: int) -> bytes | None:
    """All lines, mended at `offset`: the line there, or that and the next, if the bit made a line's end."""
    end = whole.index(b"\n", offset)
    after = whole.find(b"\n", end + 1)
    for stop in (end, after):
        if stop >= 0 and (mended := turned_back(whole[offset:stop])) is not None:
            return whole[:offset] + mended + whole[stop:]
    return None


def _unused(run: RunDir) -> Path:
    number = 1
    while (path := run.damaged_journal(number)).exists():
        number += 1
    return path


def _write(path: Path, data: bytes) -> None:
    with telling_when_full(path), replacing(path) as temporary:
        temporary.write_bytes(data)
