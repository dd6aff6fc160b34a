"""What the driver tells while it works: frozen records, rendered by whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tilefarm.geometry import Size
from tilefarm.solve.contract import Losses
from tilefarm.solve.traffic import Traffic


@dataclass(frozen=True)
class RunStarted:
    """Work begins, or goes on."""

    name: str
    root: str
    output: Size
    work: tuple[int, ...]
    """Per level, pixels times optimizer steps: what the time is roughly proportional to."""
    workers: tuple[str, ...]
    precision: str
    resumed: bool
    """Whether earlier work was found."""
    notes: tuple[str, ...] = ()
    """What a user should know, as `tilefarm plan` says it."""


@dataclass(frozen=True)
class LevelBegan:
    """A level's pictures and targets are being prepared."""

    level: int
    size: Size
    tiles: int
    rounds: int
    iterations: int
    pieces: int = 0
    """Of the exact method, which has no tiles of its own; else 0."""


@dataclass(frozen=True)
class PiecesProgress:
    """Pieces of pictures that went through the network so far."""

    level: int
    doing: str
    """What for: "measuring" content and styles, "evaluating" the exact method's objective."""
    done: int
    total: int


@dataclass(frozen=True)
class StepsProgress:
    """How far a tile in flight is."""

    level: int
    round: int
    tile: int
    iteration: int
    iterations: int
    loss: float


@dataclass(frozen=True)
class StepTaken:
    """One evaluation of a whole level by the exact method, committed."""

    level: int
    iteration: int
    """Counted from 1, steps that were taken back included."""
    iterations: int
    accepted: bool
    """False for a step that was taken back."""
    losses: Losses
    """Where the step led, unweighted terms."""
    weighted: Losses
    """The terms as they stand in the total."""
    seconds: float
    traffic: Traffic = field(default_factory=Traffic)
    """Of the step's evaluations."""


@dataclass(frozen=True)
class TileFinished:
    """A tile is durable."""

    level: int
    round: int
    tile: int
    done: int
    """Tiles of this round that are finished, this one included."""
    total: int
    first: Losses
    """At the start, unweighted terms; likewise last."""
    last: Losses
    weighted: Losses
    """The terms at the end as they stand in the total."""
    iterations: int
    rollbacks: int
    seconds: float
    attempts: int


@dataclass(frozen=True)
class LevelSolved:
    """How the losses fell in a level that a worker solved whole, told when it is durable."""

    level: int
    losses: tuple[Losses, ...]
    """After every step, unweighted terms."""
    weighted: tuple[Losses, ...]
    """The terms as they stand in the total."""


@dataclass(frozen=True)
class RoundFinished:
    """A round is blended into the canvas."""

    level: int
    round: int
    loss_first: float
    loss_last: float
    seconds: float


@dataclass(frozen=True)
class LevelFinished:
    """A level is complete and its preview is written."""

    level: int
    size: Size
    preview: str


@dataclass(frozen=True)
class RunFinished:
    """The output file is written and checked."""

    output: str
    size: Size
    seconds: float


@dataclass(frozen=True)
class AnimationWritten:
    """The animation is at its place."""

    path: str
    size: Size
    frames: int
    bytes: int


@dataclass(frozen=True)
class Noted:
    """Something that the user should know of, in one sentence."""

    note: str


WorkerChange = Literal["lost", "hung", "back", "set aside", "fewer", "gone", "joined", "refused"]


@dataclass(frozen=True)
class WorkerChanged:
    """A worker was lost, or came back; its work is done elsewhere meanwhile."""

    worker: int
    """Counted from 0."""
    change: WorkerChange
    """lost: its process has ended; hung: it was silent for too long and was ended; back: a new process is
    there; set aside: it failed too often and gets work only where no other is up; fewer: memory is short, and
    fewer workers of its machine work at a time from now on; gone: it will not come back; joined: a new
    one, whose device is the reason; refused: what was to be a new one did not start, or is of no use."""
    reason: str
    left: int
    """Workers that get work now."""
    process: int | None = None
    """Of one that is back or new, the id of its new process, where that is on this machine."""


@dataclass(frozen=True)
class WorkGiven:
    """A worker has one piece of work more: it may have to end another one first."""

    worker: int
    kind: Literal["tiles", "piece", "measurement"]
    numbers: tuple[int, ...]
    """The tiles of a batch, or the piece."""


@dataclass(frozen=True)
class WorkReturned:
    """A worker has a piece of work no more."""

    worker: int
    kind: Literal["tiles", "piece", "measurement"]
    numbers: tuple[int, ...]
    pixel_steps: int
    """What was done: pixels times passes over them; 0 where it failed or was taken away."""


@dataclass(frozen=True)
class Transferred:
    """Arrays went to a worker, or came from one."""

    direction: Literal["sent", "received"]
    bytes: int


@dataclass(frozen=True)
class Paused:
    """The work rests, as somebody asked; nothing is under way."""

    root: str
    """The run folder."""


@dataclass(frozen=True)
class Continued:
    """The work goes on after a pause."""

    seconds: float
    """How long it rested."""


WorkEvent = WorkGiven | WorkReturned | Transferred
"""What workers have in hand, and what goes between them and the driver: of the moment alone."""
Event = (
    RunStarted
    | LevelBegan
    | PiecesProgress
    | StepsProgress
    | StepTaken
    | TileFinished
    | LevelSolved
    | RoundFinished
    | LevelFinished
    | RunFinished
    | AnimationWritten
    | Noted
    | WorkerChanged
    | Paused
    | Continued
)
Listener = Callable[[Event], None]
