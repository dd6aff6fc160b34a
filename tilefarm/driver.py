"""The driver: takes a prepared job through its levels to the finished file, from wherever it was left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tilefarm import faults
from tilefarm.crew import Crew
from tilefarm.delivery import is_done
from tilefarm.errors import JobError, ResourceError, TilefarmError
from tilefarm.events import Listener, Noted
from tilefarm.execute.metrics import recorder
from tilefarm.execute.open import ExecutorChoice, open_executor
from tilefarm.execute.process import free_memory, peak_rss
from tilefarm.execute.protocol import Executor
from tilefarm.export import drop_means, export
from tilefarm.failures import keeping_failures
from tilefarm.files import telling_when_full, write_text
from tilefarm.integrity import is_intact
from tilefarm.level import LevelRun
from tilefarm.making.finish import finish
from tilefarm.pauses import Pauses, ask, withdraw
from tilefarm.prepare import Prepared, check_disk, estimate, most_workers, prepare, workers_within
from tilefarm.rounds import RunTools
from tilefarm.rundir.find import check_ours
from tilefarm.rundir.find import load_run as load_run
from tilefarm.rundir.find import run_folder as run_folder
from tilefarm.rundir.inputs import write_job
from tilefarm.rundir.journal import Journal, read_journal
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.rundir.leftovers import clear_leftovers
from tilefarm.rundir.mend import mend_journal
from tilefarm.rundir.place import telling_of_place
from tilefarm.rundir.state import RunState
from tilefarm.rundir.summary import plan_record, read_summary, summarize, worker_losses_so_far, write_summary
from tilefarm.settings import choose, solver_settings, unfit
from tilefarm.signals import stop_behind
from tilefarm.solve.contract import Weights
from tilefarm.solve.weights import load_weights
from tilefarm.spec.files import output_files
from tilefarm.spec.model import Job
from tilefarm.store.deliver import deliver_all
from tilefarm.telling import Telling

Opener = Callable[[Weights, int], Executor]


@dataclass(frozen=True)
class Outcome:
    """Where the picture is."""

    run: RunDir
    output: Path
    already_done: bool
    """Whether there was nothing left to do."""
    pause_is_due: bool = False
    """Whether it was asked to rest, too late to do so: what comes next may rest in its place."""


def render(
    job: Job,
    run: RunDir,
    choice: ExecutorChoice,
    listen: Listener,
    opener: Opener | None = None,
    crew: Crew | None = None,
    pause_is_due: bool = False,
) -> Outcome:
    """Render a job into its run folder and write its output, continuing what is there.

    `opener` replaces the executor, for tests; a `crew`'s workers stay up when the run ends. With
    `pause_is_due` it begins paused, where there is work. Raises TilefarmError of all kinds; run.json says how
    the run ended.
    """
    prepared = prepare(job)
    with telling_of_place(run.root):
        check_ours(run)
        lock = RunLock(run)
    with lock:
        mended = mend_journal(run)
        if mended is not None:
            listen(Noted(mended))
        state = RunState.replay(read_journal(run.journal))
        session = _Session(prepared, run, state, choice, listen, opener, crew)
        session.clear_up()
        if is_done(prepared, run, state):
            session.settle()
            made = session.finish(listen)
            return Outcome(run, job.output.path, not made, pause_is_due)
        check_disk(prepared, run.root, estimate(prepared))
        if pause_is_due:
            ask(run)
        session.work()
    return Outcome(run, job.output.path, False, session.pause_is_due)


class _Session:
    """One driver process's work on a run."""

    def __init__(
        self,
        prepared: Prepared,
        run: RunDir,
        state: RunState,
        choice: ExecutorChoice,
        listen: Listener,
        opener: Opener | None,
        crew: Crew | None,
    ) -> None:
        self._required = estimate(prepared)  # before pieces are sized: a resumed run is let in like a new one
        self._prepared = prepared.with_core(state.started.core) if state.started else prepared
        self._job = prepared.job
        self._run = run
        self._state = state
        self._choice = choice
        self._listen = listen
        self._opener = opener or self._open
        self._crew = crew
        self._worker_rss: tuple[int, ...] = ()
        self._tell: Telling | None = None
        self.pause_is_due = False

    def work(self) -> None:
        """Paint what is missing, export, and leave a true run.json behind however it ends."""
        write_job(self._run, self._job)
        self._write_plan()
        self._write_summary("running")
        exported = False
        try:
            with (
                telling_when_full(),
                Journal(self._run.journal) as journal,
                Telling(self._run, self._listen) as tell,
            ):
                self._tell = tell
                if not self._is_painted():
                    self._paint(journal, tell)
                export(self._prepared, self._run, journal, self._state, tell)
                exported = True
                self._run.losses.unlink(missing_ok=True)  # drawn anew, with what this session has added
                finish(self._job, self._prepared.plan, self._run, tell)
                deliver_all(self._job, self._run, lambda note: tell(Noted(note)))
        except BaseException as error:
            stopped = stop_behind(error)
            end = stopped or error
            code = end.exit_code if isinstance(end, TilefarmError) else TilefarmError.exit_code
            with suppress(ResourceError):  # a full disk must not hide why the run ended
                if stopped is not None:
                    self._write_summary("interrupted", str(stopped), code)
                elif exported:  # the picture is done, whatever is wrong with its film
                    self._write_summary("done", exit_code=code)
                else:
                    told = isinstance(error, TilefarmError)
                    said = str(error) if told else f"{type(error).__name__}: {error}"
                    self._write_summary("failed", said, code)
            if stopped is not None:
                raise stopped from None
            raise
        self.pause_is_due = withdraw(self._run)
        self._write_summary("done")

    def clear_up(self) -> None:
        """Remove what a driver left that was killed in mid-write, or while it cleared up itself."""
        clear_leftovers(self._run, [path for _, path in output_files(self._job)])
        withdraw(self._run)
        for level in self._prepared.plan.levels:
            if self._state.rounds_done(level.index) == level.rounds:
                shutil.rmtree(self._run.optimizer(level.index), ignore_errors=True)

    def settle(self) -> None:
        """Bring back what a kill or damage has taken from a done run: job, plan, its end in run.json."""
        if not self._run.exists():
            write_job(self._run, self._job)
        self._write_plan()
        try:
            record = read_summary(self._run)
        except TilefarmError:
            record = None
        if record is None or record["status"] != "done":
            self._write_summary("done")
        drop_means(self._prepared, self._run)  # of a driver that was killed right after the export

    def finish(self, listen: Listener) -> bool:
        """Make and send what a done run lacks, and whether that was anything: a job may ask for it later."""
        made = finish(self._job, self._prepared.plan, self._run, listen)
        sent = deliver_all(self._job, self._run, lambda note: listen(Noted(note)))
        if made or sent:
            write_job(self._run, self._job)
        return made or sent

    def _is_painted(self) -> bool:
        return self._first_level() == len(self._prepared.plan.levels)

    def _first_level(self) -> int:
        """The level to go on with: after the finest that is complete and intact, or the one in progress."""
        for level in reversed(self._prepared.plan.levels):
            if is_intact(self._run, self._state, level):
                complete = self._state.rounds_done(level.index) == level.rounds
                return level.index + 1 if complete else level.index
        return 0

    def _paint(self, journal: Journal, tell: Telling) -> None:
        weights = self._weights()
        started = self._state.started
        if started is not None and started.weights_sha256 != weights.sha256:
            raise JobError(
                f"the network's weights have changed since {self._run.root} was started; "
                "restore them, or remove that folder to start anew"
            )
        if self._crew is not None:
            self._crew.make_room(self._job, weights, self._required)
        executor = self._opener(weights, self._most_workers())
        executor.listen(tell, tell.on_work)
        tell.export(recorder(self._choice))
        try:
            if started is None:
                agreed = None if self._crew is None else self._crew.precision(self._job)
                started = choose(self._prepared, executor.present, weights, agreed)
                journal.append(started)
                self._state.apply(started)
            self._prepared = self._prepared.with_core(started.core)
            self._write_plan()
            tell.announce(self._prepared, started, executor.workers, resumed=bool(self._state.levels))
            executor.leave_out(partial(unfit, self._prepared, started))
            settings = solver_settings(self._job, started)
            tools = RunTools(
                self._prepared,
                self._run,
                journal,
                self._state,
                executor,
                settings,
                started.batch,
                tell,
                None if self._crew is None else self._crew.statistics(weights),
                Pauses(self._run, tell),
            )
            levels = self._prepared.plan.levels
            for level in levels[self._first_level() :]:
                with keeping_failures(self._run, level.index, partial(self._state.rounds_done, level.index)):
                    LevelRun(tools, level).render()
                self._write_summary("running")
            self._worker_rss = executor.peak_rss()
        finally:
            tell.export(None)
            if self._crew is None:
                executor.close()

    def _weights(self) -> Weights:
        if self._crew is not None:
            return self._crew.weights(self._job)
        network = self._job.network
        return load_weights(network.name, network.weights, network.preprocessing)

    def _most_workers(self) -> int:
        """Beside this process, on this machine: a cluster's others have memory too. Raises ResourceError."""
        if self._choice.address is None:
            return most_workers(self._job, self._required)
        return workers_within(self._job, self._required, free_memory(), self._required.driver_bytes)

    def _open(self, weights: Weights, most: int) -> Executor:
        fits = partial(workers_within, self._job, self._required)
        if self._crew is not None:
            return self._crew.executor(self._job, weights, most, fits)
        compute = self._job.compute
        workers = None if compute.workers == "auto" else compute.workers
        return open_executor(self._choice, weights, compute.device, workers, most, fits)

    def _write_plan(self) -> None:
        text = json.dumps(plan_record(self._prepared.plan), indent=2) + "\n"
        with suppress(OSError, UnicodeDecodeError):
            if self._run.plan.read_text(encoding="utf-8") == text:
                return
        write_text(self._run.plan, text)
        faults.reached("plan: replaced")

    def _write_summary(self, status: str, message: str | None = None, exit_code: int = 0) -> None:
        losses = worker_losses_so_far(self._run) if self._tell is None else self._tell.worker_losses
        record = summarize(
            self._job,
            self._prepared.plan,
            self._state,
            status,
            peak_rss(),
            self._worker_rss,
            message,
            losses,
        )
        write_summary(self._run, record | {"exit_code": exit_code})
        faults.reached("summary: replaced")
