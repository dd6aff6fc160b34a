"""Rendering several jobs in one call: one after the other, each failure told and passed by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from tilefarm.errors import TilefarmError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.report.console import ConsoleReport
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.summary import read_summary
from tilefarm.signals import stopping_on_signals
from tilefarm.spec.model import Job

Load = Callable[[Path], tuple[Job, RunDir]]
"""Makes of a job file, or of a run folder, the job and where its run is."""


def render_all(
    paths: Sequence[Path], load: Load, choice: ExecutorChoice, tell: Callable[[TilefarmError], None]
) -> tuple[list[dict[str, Any]], int]:
    """Render each and return what became of it, and the exit code: the first failure's, else 0.

    A signal ends all of them. Progress goes to standard error.
    """
    from tilefarm.driver import render  # libvips and more, which other commands need not wait for

    console = Console(stderr=True)
    codes: list[int] = []
    records = []
    for path in paths:
        run: RunDir | None = None
        try:
            job, run = load(path)
            with stopping_on_signals(), ConsoleReport(console) as report:
                outcome = render(job, run, choice, report)
            if outcome.already_done:
                _say(console, f"done already: {outcome.output}")
        except TilefarmError as error:
            tell(error)
            codes.append(error.exit_code)
            if run is not None and error.exit_code != 2:
                _say(console, f"resume with: tilefarm resume {run.root}")
        records.append({"job": str(path), "run": str(run.root) if run else None, **_outcome(run)})
        if codes and codes[-1] > 128:
            break
    return records, codes[0] if codes else 0


def _outcome(run: RunDir | None) -> dict[str, Any]:
    """run.json; that the job failed where there is none to read."""
    with suppress(TilefarmError):
        if run is not None and (record := read_summary(run)) is not None:
            return record
    return {"status": "failed"}


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
