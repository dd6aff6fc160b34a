"""Who adds up whose statistics: workers on their machine, then machines; the driver gets one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilefarm.execute.protocol import Crews

FAN_IN = 8
"""So many machines meet at one of them: its link takes in what all others send."""


@dataclass(frozen=True)
class Meeting:
    """A worker, named by its first piece, adds up what others have; first of all what it has itself."""

    host: int
    guests: tuple[int, ...]
    """Whose sums are added up, the host's own among them; none: the host adds up its pieces."""
    to_driver: bool
    """Whether it is the last one."""


def stages(crews: Crews) -> list[list[Meeting]]:
    """Meetings that can be held at the same time, stage after stage. Raises ValueError without workers."""
    if not crews:
        raise ValueError("nobody has statistics")
    hosts = [[pieces[0] for pieces in machine] for machine in crews]
    rounds: list[list[list[int]]] = []
    if any(len(machine) > 1 for machine in hosts):
        rounds.append(hosts)
    leaders = [machine[0] for machine in hosts]
    while len(leaders) > 1:
        groups = [leaders[start : start + FAN_IN] for start in range(0, len(leaders), FAN_IN)]
        rounds.append(groups)
        leaders = [group[0] for group in groups]
    first = [Meeting(host, (), not rounds) for machine in hosts for host in machine]
    return [first, *(_meetings(groups, groups is rounds[-1]) for groups in rounds)]


def _meetings(groups: Sequence[Sequence[int]], is_last: bool) -> list[Meeting]:
    """Who is alone in a group has nobody to meet, unless the driver waits for it."""
    return [Meeting(group[0], tuple(group), is_last) for group in groups if len(group) > 1 or is_last]
