"""How one worker of a farm is, and which of them may work at a time."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tilefarm.execute.process import Pulse


@dataclass
class Condition:
    """A worker's."""

    pulse: Pulse
    deaths: int = 0
    down_since: float | None = None
    condemned: bool = False
    """Whether the process that it had was ended by us and may still answer for a moment."""
    died_twice: int = 0
    """Answers of Ray's in a row that it is dead and not restarted."""
    gone: bool = False
    strikes: int = 0
    streak: int = 0
    aside: bool = False


def at_a_time(conditions: Sequence[Condition], there: Iterable[int], shares: Mapping[str, int]) -> list[int]:
    """Of the workers `there` the good ones, if there are any, and of each node no more than its share.

    `shares`: how many may work at a time on nodes that were short of memory.
    """
    numbers = list(there)
    good = [number for number in numbers if not conditions[number].aside] or numbers
    if not shares:
        return good
    counts: Counter[str] = Counter()
    chosen = []
    for number in good:
        node = conditions[number].pulse.node
        counts[node] += 1
        if counts[node] <= shares.get(node, counts[node]):
            chosen.append(number)
    return chosen


def process_here(pulse: Pulse) -> int | None:
    """The process of this pulse where it is on this machine."""
    return pulse.process if pulse.node == platform.node() else None


def is_same(one: Pulse, other: Pulse) -> bool:
    """Whether they are of one process. In containers on other machines its number may come again."""
    return (one.node, one.process) == (other.node, other.process)
