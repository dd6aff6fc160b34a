"""Rendering several jobs in one call: one after the other, each failure told and passed by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from tilefarm.batch import Entry, Group, Refusal
from tilefarm.crew import Crew
from tilefarm.errors import RunBusyError, StoppedError, TilefarmError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.files import telling_when_forbidden, telling_when_full
from tilefarm.report.arrange import Ending, arranged
from tilefarm.report.console import ConsoleReport, counted
from tilefarm.rundir.ending import mark_ended, set_aside
from tilefarm.rundir.holder import read_holder
from tilefarm.rundir.layout import RunDir, is_locked
from tilefarm.rundir.summary import read_summary
from tilefarm.signals import stopping_on_signals
from tilefarm.statistics_cache import clear_cache
from tilefarm.viewer.process import Companion, announcement

Load = Callable[[Path], Group]
"""Makes of a job file, a folder of them, or a run folder, the runs and where they are."""
Tell = Callable[[TilefarmError], None]


class DetachedError(StoppedError):
    """A signal ended the following of a run, and not the run."""


@dataclass(frozen=True)
class Manner:
    """How runs that exist already are met."""

    attach: bool = False
    """Follow a run that another process renders, and take it over if that is killed; else refuse."""
    fresh: bool = False
    """Move a run folder aside and begin anew."""
    watch: bool = False
    """Serve a page that shows the run of the moment."""


def render_all(
    paths: Sequence[Path], load: Load, choice: ExecutorChoice, tell: Tell, manner: Manner
) -> tuple[list[dict[str, Any]], int]:
    """Render each and return what became of it, and the exit code: the first failure's, else 0.

    The runs of a sweep or of a folder share workers and measured statistics, and end in a contact sheet. A
    signal ends all of them. Progress goes to standard error.
    """
    with Companion() as companion:
        submission = _Submission(choice, tell, manner, companion)
        try:
            with stopping_on_signals():
                for path in paths:
                    submission.submit(path, load)
                    if submission.stopped:
                        break
        except StoppedError as error:  # between the runs
            submission.failed(error)
    return submission.records, submission.codes[0] if submission.codes else 0


class _Submission:
    def __init__(self, choice: ExecutorChoice, tell: Tell, manner: Manner, companion: Companion) -> None:
        self._choice = choice
        self._companion = companion
        self._tell = tell
        self._manner = manner
        self._console = Console(stderr=True)
        self._stopped = False
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

    def submit(self, path: Path, load: Load) -> None:
        """Whatever one argument stands for."""
        try:
            with telling_when_forbidden():
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
        if isinstance(entry, Refusal):
            self.failed(entry.error)
            return {"job": str(entry.source), "run": None, "status": "failed"}
        try:
            with stopping_on_signals(partial(_last_words, entry.run)), telling_when_full():
                if self._manner.fresh and (aside := set_aside(entry.run)) is not None:
                    self._say(f"what was there is now {aside.root}")
                self._watch(entry)
                self._until_done(entry, crew)
        except TilefarmError as error:
            self.failed(error)
            if error.exit_code != 2 and not isinstance(error, DetachedError):
                self._say(_resuming(entry.run))
            if crew is not None:
                crew.close()
        return {"job": str(entry.source), "run": str(entry.run.root), **_outcome(entry.run)}

    def _watch(self, entry: Entry) -> None:
        if self._manner.watch and (address := self._companion.show(entry.run)) is not None:
            for line in announcement(address):
                self._say(line)

    def _until_done(self, entry: Entry, crew: Crew | None) -> None:
        """Render a run, or follow who does: then what that one has left undone, such as another output."""
        from tilefarm.driver import render  # libvips and more, which other commands need not wait for

        shared: dict[str, Any] = {} if crew is None else {"crew": crew}
        followed = False
        while True:
            try:
                with ConsoleReport(self._console) as report:
                    outcome = render(entry.job, entry.run, self._choice, report, **shared)
            except RunBusyError:
                if not self._manner.attach:
                    raise
                followed = self._follow(entry)
            else:
                if outcome.already_done and not followed:
                    self._say(f"done already: {outcome.output}")
                return

    def _follow(self, entry: Entry) -> bool:
        """Show what another process does; whether that came to the end of the run."""
        from tilefarm.follow import follow

        run, holder = entry.run, read_holder(entry.run.lock) or "another process"
        self._say(f"{run.root} is rendered by {holder}: following it; Ctrl-C lets it go on alone")
        try:
            with (
                stopping_on_signals(lambda stop: _left_alone(run)),
                ConsoleReport(self._console) as report,
            ):
                done = follow(run, report)
        except StoppedError as error:
            if is_locked(run):
                raise DetachedError(_left_alone(run), error.exit_code - 128) from error
            raise
        if not done:
            self._say(f"{holder} has let go of it: taking over")
        return done

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
        draw_sheet(arranged(group.name, endings, group.varied, group.picks), group.sheet)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _name(entry: Entry | Refusal) -> str:
    return entry.job.name if isinstance(entry, Entry) else entry.source.name


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


def _left_alone(run: RunDir) -> str:
    return f"{run.root} goes on without this terminal; stop it with: tilefarm cancel {run.root}"


def _outcome(run: RunDir) -> dict[str, Any]:
    """run.json; that the job failed where there is none to read."""
    with suppress(TilefarmError):
        if (record := read_summary(run)) is not None:
            return record
    return {"status": "failed"}
