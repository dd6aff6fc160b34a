"""How a run stands, as it is shown: the record of its folder, which somebody else may have written."""

from __future__ import annotations

from typing import Any

from tilefarm.errors import TilefarmError
from tilefarm.exact.optimizer import steps_committed
from tilefarm.foreign import harmless, is_whole_number
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.summary import read_summary


def standing(run: RunDir, *, printable: bool = True) -> dict[str, Any] | None:
    """run.json with the `steps_done` of exact levels; None where there is none yet.

    `printable`: texts are for the eye, and not the names of files. Raises TilefarmError where it is damaged.
    """
    record = read_summary(run)
    if record is None:
        return None
    try:
        texts: dict[str, Any] = harmless(record)
    except RecursionError:
        raise TilefarmError(f"{run.summary} is nested too deeply to be one of tilefarm's") from None
    shown = texts if printable else record
    for number, level in enumerate(shown["levels"]):
        level["steps_done"] = _steps(run, number)
    return shown


def _steps(run: RunDir, level: int) -> int | None:
    try:
        steps = steps_committed(run.optimizer(level))
    except (TypeError, RecursionError):  # of another form than ours
        return None
    return steps if is_whole_number(steps) else None
