"""Rendering several jobs in one call: one after the other, each failure told and passed by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from tilefarm.batch import Entry, Group, Refusal
from tilefarm.crew import Crew
from tilefarm.errors import TilefarmError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.report.arrange import Ending, arranged
from tilefarm.report.console import ConsoleReport, counted
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.summary import read_summary
from tilefarm.signals import stopping_on_signals
from tilefarm.statistics_cache import clear_cache

Load = Callable[[Path], Group]
"""Makes of a job file, a folder of them, or a run folder, the runs and where they are."""
Tell = Callable[[TilefarmError], None]


def render_all(
    paths: Sequence[Path], load: Load, choice: ExecutorChoice, tell: Tell
) -> tuple[list[dict[str, Any]], int]:
    """Render each and return what became of it, and the exit code: the first failure's, else 0.

    The runs of a sweep or of a folder share workers and measured statistics, and end in a contact sheet. A
    signal ends all of them. Progress goes to standard error.
    """
    submission = _Submission(choice, tell)
    for path in paths:
        try:
            group = load(path)
        except TilefarmError as error:
            submission.failed(error)
            submission.records.append({"job": str(path), "run": None, "status": "failed"})
        else:
            submission.render(group)
        if submission.stopped:
            break
    return submission.records, submission.codes[0] if submission.codes else 0


class _Submission:
    def __init__(self, choice: ExecutorChoice, tell: Tell) -> None:
        self._choice = choice
        self._tell = tell
        self._console = Console(stderr=True)
        self.codes: list[int] = []
        self.records: list[dict[str, Any]] = []

    @property
    def stopped(self) -> bool:
        """Whether a signal came."""
        return bool(self.codes) and self.codes[-1] > 128

    def failed(self, error: TilefarmError) -> None:
        """Tell of a failure and keep its code."""
        self._tell(error)
        self.codes.append(error.exit_code)

    def render(self, group: Group) -> None:
        """All runs of a group, then its sheet."""
        crew = None if group.cache is None else Crew(self._choice, group.cache, group.runs)
        first = len(self.records)
        try:
            for number, entry in enumerate(group.entries, start=1):
                if group.sheet is not None:
                    self._say(f"run {number} of {len(group.entries)}: {_name(entry)}")
                self.records.append(self._one(entry, crew))
                if self.stopped:
                    break
        finally:
            if crew is not None:
                crew.close()
        if group.sheet is not None:
            self._finish(group, self.records[first:])

    def _one(self, entry: Entry | Refusal, crew: Crew | None) -> dict[str, Any]:
        """Render one run; a failure is told, and the workers that saw it are sent home."""
        from tilefarm.driver import render  # libvips and more, which other commands need not wait for

        if isinstance(entry, Refusal):
            self.failed(entry.error)
            return {"job": str(entry.source), "run": None, "status": "failed"}
        shared: dict[str, Any] = {} if crew is None else {"crew": crew}
        try:
            with stopping_on_signals(), ConsoleReport(self._console) as report:
                outcome = render(entry.job, entry.run, self._choice, report, **shared)
            if outcome.already_done:
                self._say(f"done already: {outcome.output}")
        except TilefarmError as error:
            self.failed(error)
            if error.exit_code != 2:
                self._say(f"resume with: tilefarm resume {entry.run.root}")
            if crew is not None:
                crew.close()
        return {"job": str(entry.source), "run": str(entry.run.root), **_outcome(entry.run)}

    def _finish(self, group: Group, records: list[dict[str, Any]]) -> None:
        """The contact sheet, which every record names, and the count. The cache goes when all is done."""
        assert group.sheet is not None
        assert group.cache is not None
        done = sum(record["status"] == "done" for record in records)
        if done == len(group.entries):
            clear_cache(group.cache)
        sheet: str | None = None
        if done and not self.stopped:
            try:
                self._draw(group, records)
                sheet = str(group.sheet)
            except TilefarmError as error:
                self.failed(error)
        for record in records:
            record["sheet"] = sheet
        self._say(f"{counted(len(group.entries), 'run')}, {done} done")
        if sheet is not None:
            self._say(f"contact sheet {sheet}")
        if done < len(group.entries):
            self._say(f"go on with: tilefarm submit {group.source}")

    def _draw(self, group: Group, records: list[dict[str, Any]]) -> None:
        from tilefarm.report.sheet import draw_sheet

        assert group.sheet is not None
        endings = [
            Ending(_name(entry), record["status"], Path(record["output"]) if "output" in record else None)
            for entry, record in zip(group.entries, records, strict=True)
        ]
        with stopping_on_signals():
            draw_sheet(arranged(group.name, endings, group.varied, group.picks), group.sheet)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _name(entry: Entry | Refusal) -> str:
    return entry.job.name if isinstance(entry, Entry) else entry.source.name


def _outcome(run: RunDir) -> dict[str, Any]:
    """run.json; that the job failed where there is none to read."""
    with suppress(TilefarmError):
        if (record := read_summary(run)) is not None:
            return record
    return {"status": "failed"}
