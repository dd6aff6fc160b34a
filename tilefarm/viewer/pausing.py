"""What a driver finishes before it rests, in words: a pause is taken between two pieces of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tilefarm.viewer.turn import Turn

PAUSING = "pausing: what is under way is finished first"


def pausing(live: Mapping[str, Any], levels: Sequence[Mapping[str, Any]], turn: Turn | None) -> str:
    """What is finished first, by what live.json says; `levels` are those of the page's state."""
    doing, level = live.get("doing"), live.get("level")
    if doing == "writing" and level == len(levels):
        if turn is not None and turn.number < turn.total:
            return "pausing: the picture is written first, then the next run waits"
        return "the picture is being written, which is not paused: the run is done in a moment"
    if doing == "painting" and level is not None and level <= len(levels) and levels[level - 1]["tiles"] < 2:
        return "pausing: this level is one piece, which is finished first"
    return _FIRST.get(doing or "", PAUSING)


_FIRST = {
    "starting": "pausing: the workers are started first",
    "preparing": "pausing: the level is prepared and measured first",
    "measuring": "pausing: the level is measured first",
    "painting": "pausing: the tiles in work are finished first",
    "evaluating": "pausing: the evaluation under way is finished first",
    "writing": "pausing: the level is written first",
}
