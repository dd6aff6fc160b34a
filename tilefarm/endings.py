"""What became of the runs of a group, in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tilefarm.batch import Entry, Group, Refusal
from tilefarm.report.arrange import Ending, arranged


def draw_endings(group: Group, records: Sequence[dict[str, Any]]) -> None:
    """Draw the contact sheet of a group that has one; `records`: of its entries, in their order.

    Raises TilefarmError where it cannot be written.
    """
    from tilefarm.report.sheet import draw_sheet

    assert group.sheet is not None
    endings = [
        Ending(name_of(entry), record["status"], Path(record["output"]) if "output" in record else None)
        for entry, record in zip(group.entries, records, strict=True)
    ]
    draw_sheet(arranged(group.name, endings, group.varied, group.picks), group.sheet)


def name_of(entry: Entry | Refusal) -> str:
    """What people call a run of a group, or a file that is none."""
    return entry.job.name if isinstance(entry, Entry) else entry.source.name
