"""Who is told of a driver's events: the log, the live data, and whoever listens."""

from __future__ import annotations

from collections.abc import Sequence

from tilefarm.events import Event, Listener, RunStarted, Transferred, WorkerChanged, WorkEvent
from tilefarm.execute.metrics import Recorder
from tilefarm.execute.protocol import WorkerInfo
from tilefarm.live import LiveData
from tilefarm.monitoring import Monitor
from tilefarm.prepare import Prepared
from tilefarm.rundir.event_log import EventLog
from tilefarm.rundir.journal import Started
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.summary import seconds_so_far, worker_losses_so_far


class Telling:
    """The listener of a session, while it works."""

    def __init__(self, run: RunDir, listen: Listener) -> None:
        """Raises OSError where the log cannot be opened."""
        self._run = run
        self._listen = listen
        self.worker_losses = worker_losses_so_far(run)
        self._monitor: Monitor | None = None
        self._log = EventLog(run.events)
        self._live = LiveData(run, seconds_so_far(run))

    def __call__(self, event: Event) -> None:
        """Hand an event on."""
        self._live(event)
        self._log.write(event)
        if isinstance(event, WorkerChanged) and event.change in ("lost", "hung"):
            self.worker_losses += 1
        if self._monitor is not None:
            self._monitor(event)
        self._listen(event)

    def on_work(self, event: WorkEvent) -> None:
        """What workers have in hand is for the live data and for monitoring alone."""
        if not isinstance(event, Transferred):
            self._live.take_work(event)
        if self._monitor is not None:
            self._monitor.on_work(event)

    def export(self, record: Recorder | None) -> None:
        """From now on hand numbers to the monitoring of the cluster, where there is one; None: no more."""
        before, self._monitor = self._monitor, None
        if before is not None:
            before.close()
        if record is not None:
            self._monitor = Monitor(self._run.root.name, record)
            self._monitor.start()

    def announce(
        self, prepared: Prepared, started: Started, workers: Sequence[WorkerInfo], resumed: bool
    ) -> None:
        """The work begins, or goes on where `resumed`."""
        self._live.begin(prepared.plan, workers)
        described = tuple(
            f"{worker.device_name}, {worker.threads} thread{'s' if worker.threads > 1 else ''}"
            for worker in workers
        )
        self(
            RunStarted(
                name=self._run.name,
                root=str(self._run.root),
                output=prepared.plan.output,
                work=tuple(level.evaluated_pixels for level in prepared.plan.levels),
                workers=described,
                precision=started.precision,
                resumed=resumed,
                notes=prepared.notes,
            )
        )

    def close(self) -> None:
        """The session ends."""
        self._live.close()
        self._log.close()

    def __enter__(self) -> Telling:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
