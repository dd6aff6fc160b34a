"""Who adds up whose statistics: workers on their machine, then machines; the driver gets one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilefarm.execute.protocol import Crews
from tilefarm.solve.branches import Branch, joined, leaf

FAN_IN = 8
"""So many machines meet at one of them: its link takes in what all others send."""


@dataclass(frozen=True)
class Meeting:
    """A worker, named by its first piece, adds up what others have; first of all what it has itself."""

    host: int
    pieces: tuple[int, ...]
    """Of the host, in the first stage."""
    guests: tuple[int, ...]
    """Whose sums are added up in later ones, the host's own among them."""
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
    first = [Meeting(pieces[0], pieces, (), not rounds) for machine in crews for pieces in machine]
    return [first, *(_meetings(groups, groups is rounds[-1]) for groups in rounds)]


@dataclass(frozen=True)
class Heard:
    """What comes together in a meeting."""

    meeting: Meeting
    own: int
    """Pieces of the host, where it adds up its own."""
    brought: int
    """Branches of other workers."""
    made: int
    """Branches that it hands out."""


def rehearsed(crews: Crews) -> list[list[Heard]]:
    """The same meetings, with how much is heard in each."""
    given: dict[int, tuple[Branch, ...]] = {}
    found = []
    for meetings in stages(crews):
        stage = []
        for each in meetings:
            own = [leaf(index, {}) for index in each.pieces]
            brought = sum(len(given[guest]) for guest in each.guests if guest != each.host)
            given[each.host] = joined(
                [*own, *(branch for guest in each.guests for branch in given.pop(guest))]
            )
            stage.append(Heard(each, len(own), brought, len(given[each.host])))
        found.append(stage)
    return found


def in_rows(machines: Sequence[int], pieces: int) -> Crews:
    """Where pieces are with workers that are alike, so many on each machine; no worker is without a piece."""
    workers = min(sum(machines), pieces)
    rows = [tuple(range(one * pieces // workers, (one + 1) * pieces // workers)) for one in range(workers)]
    found, start = [], 0
    for count in machines:
        if here := tuple(rows[start : start + count]):
            found.append(here)
        start += count
    return tuple(found)


def _meetings(groups: Sequence[Sequence[int]], is_last: bool) -> list[Meeting]:
    """Who is alone in a group has nobody to meet, unless the driver waits for it."""
    return [Meeting(group[0], (), tuple(group), is_last) for group in groups if len(group) > 1 or is_last]
