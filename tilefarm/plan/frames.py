"""Which steps of a run are kept as snapshots."""

from __future__ import annotations

from tilefarm.plan.build import LevelPlan, RenderPlan
from tilefarm.spec.making import Animation
from tilefarm.spec.model import Job

USUAL_FRAMES = 150
"""Snapshots that are enough for an animation, where the job does not say how many are kept."""

_GIF_SCRATCH_BYTES = 300_000_000
"""As many pixels as fit into its bound, three bytes each (`output/gif.py`)."""


def snapshot_steps(job: Job, plan: RenderPlan) -> tuple[int, ...]:
    """Per level the optimizer steps between two snapshots, at least 1; 0 for a level that keeps none.

    A level in feathered tiles has no picture between its rounds: it keeps one per round, whatever its
    number is here. For an animation without `snapshots.every` the levels that it shows keep as many as
    make about 150 of them.
    """
    if job.snapshots.every or job.animation is None:
        return (job.snapshots.every,) * len(plan.levels)
    shown = [level for level in plan.levels if job.animation.level in ("all", level.index + 1)]
    rounds = sum(level.rounds for level in shown if not level.grid.is_whole)
    steps = sum(level.iterations for level in shown if level.grid.is_whole)
    every = max(1, -(-steps // max(1, USUAL_FRAMES - rounds)))
    return tuple(every if level in shown else 0 for level in plan.levels)


def last_step(level: LevelPlan) -> int:
    """The number of a level's last snapshot: steps on any one place, all rounds together."""
    return level.rounds * level.iterations


_GIF_BYTES, _MP4_BYTES_PER_SECOND = 20_000_000, 1_500_000
"""What the writers keep to (`output/gif.py`, `output/mp4.py`)."""


def animation_bytes(animation: Animation) -> int:
    """The largest that the file of an animation can become."""
    return _GIF_BYTES if animation.format == "gif" else round(animation.seconds * _MP4_BYTES_PER_SECOND)


def making_bytes(job: Job, plan: RenderPlan) -> int:
    """What the run folder needs on the disk: snapshots, about a byte a pixel, and the frames of a GIF."""
    size = plan.levels[-1].size
    pixels = size.fit_long_side(min(size.long_side, job.snapshots.long_side)).pixels
    frames = _GIF_SCRATCH_BYTES if job.animation is not None and job.animation.format == "gif" else 0
    return snapshot_count(job, plan) * pixels + frames


def snapshot_count(job: Job, plan: RenderPlan) -> int:
    """How many snapshots a run keeps, at most: per level its start, its end and what is in between."""
    count = 0
    for level, every in zip(plan.levels, snapshot_steps(job, plan), strict=True):
        if every:
            count += 2 + (last_step(level) // every if level.grid.is_whole else level.rounds)
    return count
