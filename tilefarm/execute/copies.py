"""When a piece of work is given out a second time: arithmetic on expected times, pure.

At the end of a pass the last pieces run on some workers while others idle. A worker that idles gets a copy of
the piece that is expected to end last, if it will clearly be done earlier there; the first result counts.

What that is good for: let pieces be of one size and paces known, and T the least possible time of the pass.
As long as no worker idles, each has by any time t finished as many pieces as its pace allows. Take a piece
that is unfinished at T, and expected to end at e > T. A worker that idles at t and could still do a piece by
T gets a copy of it, or of one that is expected to end later still, unless e - t is below `CLEARLY` times what
it needs. So either as many pieces are finished by T as in the best schedule, which are all, or
e - t < CLEARLY * (T - t): the pass takes less than `CLEARLY` times the least possible time. (That leaves out
that at most two workers have a piece at a time, and that first calls are given out before paces are known.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tilefarm.execute.deadlines import Deadlines, Effort

CLEARLY = 1.1
"""What is left of a call must be so many times what the copy will take."""
CLEARLY_AT_HOME = 4.0
"""The same for calls that always go to the same worker. The slower of the two goes on when its pass is over
and so begins its own piece of the next pass late, where it would be helped again: a hitch would cost
following passes too. What lasts is for `Homes.balance`."""
LEAST_SECONDS = 0.1
"""Less than that is not worth sending a piece for."""


def is_worth_it(own: float, left: float, clearly: float = CLEARLY) -> bool:
    """Whether a copy that takes `own` seconds clearly ends before a call that has `left` seconds to go."""
    return own * clearly <= left and left - own >= LEAST_SECONDS


def seconds_left(times: Deadlines, worker: int, line: Sequence[Effort], now: float) -> Iterator[float]:
    """For each call in a worker's line, the first of which runs, in how many seconds it is expected to end.

    Nothing where nobody has finished a call like the first. A call that has taken longer than expected
    by x seconds is expected to take x seconds more: if it is then done by another worker that needs as
    long, at most twice the time was lost that was necessary.
    """
    if not line:
        return
    first = line[0]
    expected, spent = times.seconds(worker, first), times.spent(worker, now)
    if expected is None:
        return
    left = abs(expected - spent)
    yield left
    slower = max(1.0, spent / expected) if expected else 1.0
    for effort in line[1:]:
        seconds = times.seconds(worker, effort)
        if seconds is None:
            return
        left += seconds * slower
        yield left
