"""Rendering several jobs in one call: one after the other, each failure told and passed by."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from tilefarm.attend import DetachedError, attend
from tilefarm.batch import Entry, Group, Refusal
from tilefarm.crew import Crew
from tilefarm.endings import draw_endings, name_of
from tilefarm.errors import JobError, RunBusyError, StoppedError, TilefarmError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.files import telling_when_forbidden, telling_when_full
from tilefarm.operator_log import OperatorLog
from tilefarm.report.console import ConsoleReport, counted
from tilefarm.rundir.ending import mark_ended, outcome_of, set_aside
from tilefarm.rundir.holder import read_holder
from tilefarm.rundir.layout import RunDir, is_locked
from tilefarm.signals import stopping_on_signals
from tilefarm.statistics_cache import clear_cache
from tilefarm.store.keeping import Keeper, Wish
from tilefarm.viewer.process import Companion, announcement
from tilefarm.viewer.turn import Turn

Load = Callable[[Path], Group]
"""Makes of a job file, a folder of them, or a run folder, the runs and where they are."""
_RUN_NAME = re.compile(r"-[0-9a-f]{8}\Z")
Tell = Callable[[TilefarmError], None]


@dataclass(frozen=True)
class Manner:
    """How runs that exist already are met."""

    attach: bool = False
    """Follow a run that another process renders, and take it over if that is killed; else refuse."""
    fresh: bool = False
    """Move a run folder aside and begin anew."""
    watch: bool = False
    """Serve a page that shows the run of the moment."""
    store: Wish | None = None
    """Where copies of the run folders are kept, and taken from."""
    log: Path | None = None
    """Where the events of all runs are written; None: where the environment says, if it does."""


def render_all(
    paths: Sequence[Path], load: Load, choice: ExecutorChoice, tell: Tell, manner: Manner
) -> tuple[list[dict[str, Any]], int]:
    """Render each and return what became of it, and the exit code: the first failure's, else 0.

    The runs of a sweep or of a folder share workers and measured statistics, and end in a contact sheet. A
    signal ends all of them. Progress goes to standard error.
    """
    try:
        log = OperatorLog(manner.log)
    except TilefarmError as error:
        tell(error)
        return [], error.exit_code
    with Companion() as companion:
        submission = _Submission(choice, tell, manner, companion, log)
        try:
            with stopping_on_signals():
                submission.open_store()
                for path in paths:
                    submission.submit(path, load)
                    if submission.stopped:
                        break
        except (StoppedError, JobError) as error:  # between the runs; about the store
            submission.failed(error)
        submission.close_store()
    return submission.records, submission.codes[0] if submission.codes else 0


class _Submission:
    def __init__(
        self, choice: ExecutorChoice, tell: Tell, manner: Manner, companion: Companion, log: OperatorLog
    ) -> None:
        self._choice = choice
        self._companion = companion
        self._tell = tell
        self._manner = manner
        self._log = log
        self._console = Console(stderr=True)
        self._stopped = False
        self._keeper: Keeper | None = None
        self._pause_is_due = False
        self.codes: list[int] = []
        self.records: list[dict[str, Any]] = []

    @property
    def stopped(self) -> bool:
        """Whether a signal came."""
        return self._stopped

    def failed(self, error: TilefarmError) -> None:
        """Tell of a failure and keep its code."""
        self._tell(error)
        self.codes.append(error.exit_code)
        self._stopped = self._stopped or isinstance(error, StoppedError)

    def open_store(self) -> None:
        """Ask the store, if there is to be one. Raises JobError where it cannot be written."""
        if self._manner.store is not None:
            self._keeper = Keeper.at(self._manner.store, self._say)

    def close_store(self) -> None:
        """Send what a signal has kept from being sent."""
        if self._keeper is not None:
            self._keeper.finish()

    def submit(self, path: Path, load: Load) -> None:
        """Whatever one argument stands for."""
        try:
            with telling_when_forbidden():
                if self._keeper is not None and not path.exists() and _RUN_NAME.search(path.name):
                    self._keeper.bring(RunDir(path.absolute()))
                group = load(path)
        except StoppedError:
            raise
        except TilefarmError as error:
            self.failed(error)
            self.records.append({"job": str(path), "run": None, "status": "failed"})
        else:
            self._render(group)

    def _render(self, group: Group) -> None:
        """All runs of a group, then its sheet."""
        crew = None if group.cache is None else Crew(self._choice, group.cache, group.runs)
        first = len(self.records)
        try:
            for number, entry in enumerate(group.entries, start=1):
                if group.sheet is not None:
                    self._say(f"run {number} of {len(group.entries)}: {name_of(entry)}")
                self.records.append(self._one(entry, crew, Turn(number, len(group.entries))))
                if self.stopped:
                    break
        finally:
            if crew is not None:
                crew.close()
        if group.sheet is not None:
            self._finish(group, self.records[first:])

    def _one(self, entry: Entry | Refusal, crew: Crew | None, turn: Turn) -> dict[str, Any]:
        """Render one run; a failure is told, and the workers that saw it are sent home."""
        if isinstance(entry, Refusal):
            self.failed(entry.error)
            return {"job": str(entry.source), "run": None, "status": "failed"}
        try:
            with stopping_on_signals(partial(_last_words, entry.run)), telling_when_full():
                if self._manner.fresh and self._keeper is not None:
                    self._keeper.fresh(entry.run)
                if self._manner.fresh and (aside := set_aside(entry.run)) is not None:
                    self._say(f"what was there is now {aside.root}")
                self._watch(entry, turn)
                self._until_done(entry, crew)
        except TilefarmError as error:
            self.failed(error)
            if error.exit_code != 2 and not isinstance(error, DetachedError):
                self._say(_resuming(entry.run))
            if crew is not None:
                crew.close()
        outcome = outcome_of(entry.run)
        self._log.ended(entry.run, outcome)
        record = {"job": str(entry.source), "run": str(entry.run.root), **outcome}
        if self._keeper is not None:
            complete = self._keeper.complete.get(entry.run.name, False)
            record["store"] = {"address": str(self._keeper.address), "complete": complete}
        return record

    def _kept(self, run: RunDir) -> AbstractContextManager[None]:
        """A copy of the run at the store meanwhile; none where another process has the run, and keeps it."""
        if self._keeper is None or is_locked(run):
            return nullcontext()
        return self._keeper.keeping(run)

    def _watch(self, entry: Entry, turn: Turn) -> None:
        if self._manner.watch and (address := self._companion.show(entry.run, turn)) is not None:
            for line in announcement(address):
                self._say(line)

    def _until_done(self, entry: Entry, crew: Crew | None) -> None:
        """Render a run, or follow who does: then what that one has left undone, such as another output."""
        from tilefarm.driver import render  # libvips and more, which other commands need not wait for

        shared: dict[str, Any] = {} if crew is None else {"crew": crew}
        followed = False
        while True:
            due, self._pause_is_due = self._pause_is_due, False
            try:
                with (
                    self._kept(entry.run),
                    ConsoleReport(self._console) as report,
                    self._log.beside(entry.run, report) as listen,
                ):
                    outcome = render(entry.job, entry.run, self._choice, listen, pause_is_due=due, **shared)
                    self._pause_is_due = outcome.pause_is_due
            except RunBusyError:
                if not self._manner.attach:
                    raise
                followed = attend(entry.run, self._console, self._say)
            else:
                if outcome.already_done and not followed:
                    self._say(f"done already: {outcome.output}")
                return

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
                draw_endings(group, records)
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

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _resuming(run: RunDir) -> str:
    """How to go on with a run."""
    return f"resume with: tilefarm resume {run.root}"


def _last_words(run: RunDir, stop: StoppedError) -> str:
    """Of a run whose driver has no time to end in order."""
    holder = read_holder(run.lock)
    if holder is not None and holder.is_this_process:  # else it is another one's to speak of
        with suppress(TilefarmError, OSError):
            mark_ended(run, "interrupted", str(stop), stop.exit_code)
    return _resuming(run)
