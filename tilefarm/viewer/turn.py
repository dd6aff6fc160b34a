"""A run's place among those that one command renders one after the other, as the page is told it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tilefarm.rundir.layout import RunDir


@dataclass(frozen=True)
class Turn:
    """Run `number`, counted from 1, of `total`."""

    number: int
    total: int

    def record(self) -> dict[str, int]:
        """As it is in the page's state, where there is more than one."""
        return asdict(self)


def to_line(run: RunDir, turn: Turn | None) -> str:
    """A run to show, on a line of its own: JSON, as folders' names may hold newlines and odd bytes."""
    return json.dumps({"run": str(run.root), "turn": turn.record() if turn else None}) + "\n"


def from_line(line: str) -> tuple[RunDir, Turn | None]:
    """What `to_line` wrote."""
    record: dict[str, Any] = json.loads(line)
    return RunDir(Path(record["run"])), Turn(**record["turn"]) if record["turn"] else None
