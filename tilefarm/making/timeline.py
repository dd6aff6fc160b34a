"""When an animation shows what: pure arithmetic on the row of snapshots."""

from __future__ import annotations

EASE = 1.6
"""Above 1 the film starts slowly: the first tenth of the snapshots takes 24% of the time."""
HOLD_SECONDS = 1.5
"""For so long the last frame is held."""


def positions(snapshots: int, seconds: float, rate: float) -> tuple[float, ...]:
    """The places of the frames in the row of snapshots, 0 being the first and `snapshots - 1` the last.

    At `rate` frames a second; place p_i = (snapshots - 1) (i / (frames - 1))^1.6. A place between two
    snapshots is a mixture of both. There are at least two frames, the first and the last snapshot.
    """
    frames = max(2, round(seconds * rate))
    return tuple((snapshots - 1) * (frame / (frames - 1)) ** EASE for frame in range(frames))
