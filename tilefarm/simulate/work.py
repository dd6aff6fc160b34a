"""What there is to do, as data: passes that workers do, and the driver's own work between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Item:
    """One call."""

    index: int
    pixels: int
    """Of its pictures."""
    steps: int
    """Passes over them, as the deadlines count."""
    pixel_steps: float
    """What the worker does: pixels times passes forward and backward; a pass forward alone is a half."""
    sent: int
    """Bytes."""
    received: int
    synced: int = 0
    """Bytes of its result that are on the disk before the driver goes on; 0: none are."""
    full: Item | None = None
    """The same for a worker that keeps nothing of it; None: it makes no difference."""
    crop_sent: int = 0
    """Of what is sent: its crop."""
    between: int = 0
    """Bytes that it gets from other workers."""
    vectors: float = 0.0
    """Bytes of vectors that the worker reads or writes."""
    forms: tuple[Item, ...] = ()
    """The same for workers that keep as much of it as their memory allows: as `Pass.forms` counts them."""


PassKind = Literal["solve", "measure", "piece_sums", "piece_gradient", "core"]


@dataclass(frozen=True)
class Pass:
    """Items that are handed out together. The next thing begins when all of them are done."""

    kind: PassKind
    items: tuple[Item, ...]
    shared: int = 0
    """Bytes that every machine gets once."""
    level: str = ""
    """Names the level, whose pieces are at home with workers: of the exact method's passes."""
    hands_out: bool = False
    """Whether vectors are handed out to the workers, whose pieces lie next to each other from then on."""
    forms: tuple[int, ...] = ()
    """Per worker of the farm, which of the items' forms it gets; empty: items have one."""


@dataclass(frozen=True)
class Chores:
    """What the driver does alone, while the workers wait."""

    pixels: float = 0.0
    """Decoded, resized or encoded."""
    vectors: float = 0.0
    """Bytes of vectors and canvases that are read or written, while they fit in memory."""
    resident: float = 0.0
    """Bytes that must stay in memory for that; else they are read from the disk and written to it."""
    synced: float = 0.0
    """Bytes written and waited for."""


@dataclass(frozen=True)
class Stage:
    """Passes and chores, one after the other, so many times."""

    name: str
    """What a user calls it: preparing, painting, evaluating, writing."""
    passes: tuple[Pass, ...]
    chores: Chores = Chores()
    repeats: int = 1
    kept: int = 0
    """Bytes that come to the driver to be kept after each repetition, while that takes no more than ..."""
    most_kept: float = 0.0
    """... this share of the time: else it is done after some of them."""
    held: int = 0
    """Bytes of vectors that lie with the workers: after a loss all are handed out anew, and what was done
    since they were kept last is done again."""


@dataclass(frozen=True)
class LevelWork:
    """All of one level."""

    index: int
    """0 is the coarsest."""
    pixels: int
    stages: tuple[Stage, ...]
