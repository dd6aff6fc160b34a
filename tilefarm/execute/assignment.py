"""What a schedule is told and what it answers: plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tilefarm.execute.deadlines import Effort

IN_FLIGHT = 2
"""Calls per worker: one that runs and one whose tile is already there when it ends."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Workers:
    """The workers at the moment of a question, by their numbers."""

    up: Sequence[int]
    """Those that can work now."""
    members: Sequence[int]
    """Those that work is planned for, be they up or about to be."""
    awaited: AbstractSet[int] = frozenset()
    """Of these, those that are down and expected back."""
    busy: Mapping[int, Sequence[Effort]] = field(default_factory=dict)
    """What they are still busy with that was given to them by others than this schedule."""


@dataclass(frozen=True)
class Given(Generic[_Item]):
    """A call to be made: this worker gets this item."""

    number: int
    """Of the call, in this schedule."""
    worker: int
    item: _Item
    copy: bool = False
    """Whether another worker has it already, which is slow."""


@dataclass(frozen=True)
class Finished(Generic[_Item]):
    """An item that is done."""

    item: _Item
    attempts: int
    """1 where it never failed."""


@dataclass(frozen=True)
class Failed(Generic[_Item]):
    """An item that failed once more."""

    item: _Item
    times: int
    for_good: bool
    """Whether it is not tried again."""


@dataclass(eq=False)
class Work(Generic[_Item]):
    """An item of a schedule and what became of it so far."""

    item: _Item
    effort: Effort
    failed_on: list[int] = field(default_factory=list)
    silenced: bool = False
    """Whether a worker that had it was ended for its silence."""
    suspected: int = 0
    """How often it may have ended its worker or was too large for the memory that was left."""
    calls: int = 0
    """Of it are under way."""
    is_done: bool = False

    @property
    def load(self) -> int:
        """What it counts among the calls of a worker: under suspicion it is alone, and shows which it was."""
        return IN_FLIGHT if self.suspected else 1

    @property
    def exclusive(self) -> bool:
        """Whether nobody else may work meanwhile: all of the machine's memory is there for it."""
        return self.suspected > 1


@dataclass(frozen=True)
class Call(Generic[_Item]):
    """A call that is under way."""

    work: Work[_Item]
    worker: int
    copy: bool
