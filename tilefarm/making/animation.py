"""The animation of a run: made of its snapshots, and made again only when something else is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tilefarm import faults
from tilefarm.errors import JobError
from tilefarm.events import AnimationWritten, Listener
from tilefarm.files import checksum, remove_leftovers, replacing, write_text
from tilefarm.geometry import Size
from tilefarm.making.frames import Frame, frames, snapshots_shown
from tilefarm.making.timeline import HOLD_SECONDS, positions
from tilefarm.output.gif import GIF_RATE, write_gif
from tilefarm.output.mp4 import MP4_RATE, even, write_mp4
from tilefarm.plan.build import RenderPlan
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.making import Animation


def make_animation(animation: Animation, plan: RenderPlan, run: RunDir, listen: Listener) -> bool:
    """Write the animation of a finished picture; False where it is there already.

    Frames have the finest shown level's shape; smaller levels are enlarged. Raises JobError where the run
    has kept no snapshots to make it of, ResourceError where the disk is full.
    """
    level = None if animation.level == "all" else animation.level - 1
    snapshots = snapshots_shown(run, level)
    wanted = _request(animation, snapshots)
    if _is_there(run, animation.path, wanted):
        return False
    if len(snapshots) < 2:
        raise JobError(
            f"animation: {run.root} has {len(snapshots) or 'no'} snapshot{'s' * (not snapshots)} of "
            f"{'the picture' if level is None else f'level {animation.level}'}, which was painted without "
            "them; remove that folder to paint it again with them, or leave animation out"
        )
    size = frame_size(animation, plan)
    remove_leftovers(animation.path)
    with replacing(animation.path) as temporary:
        if animation.format == "gif":
            size, count = _gif(animation, snapshots, size, temporary, run)
        else:
            made = frames(snapshots, positions(len(snapshots), animation.seconds, MP4_RATE), size)
            count = write_mp4(made, size, HOLD_SECONDS, temporary)
        faults.reached("finish: animation written")
    faults.reached("finish: animation replaced")
    written = {"crc": checksum(animation.path), **wanted}
    write_text(run.animation, json.dumps(written, indent=2) + "\n")
    faults.reached("finish: animation recorded")
    listen(AnimationWritten(str(animation.path), size, count, animation.path.stat().st_size))
    return True


def frame_size(animation: Animation, plan: RenderPlan) -> Size:
    """The size of all frames: the finest shown level's, at most `long_side`; even numbers for MP4."""
    size = plan.levels[-1 if animation.level == "all" else animation.level - 1].size
    small = size if size.long_side <= animation.long_side else size.fit_long_side(animation.long_side)
    return even(small) if animation.format == "mp4" else small


def _gif(
    animation: Animation, snapshots: Sequence[Path], size: Size, target: Path, run: RunDir
) -> tuple[Size, int]:
    places = positions(len(snapshots), animation.seconds, GIF_RATE)
    make: partial[Iterator[Frame]] = partial(frames, snapshots, places)
    scratch = run.root / ".animation.part"
    return write_gif(make, len(places), size, HOLD_SECONDS, target, scratch), len(places)


def _request(animation: Animation, snapshots: Sequence[Path]) -> dict[str, Any]:
    """What decides the file: the keys, and which snapshots there are."""
    keys = animation.model_dump(mode="json", exclude={"address"})
    return {**keys, "snapshots": [path.stem for path in snapshots]}


def _is_there(run: RunDir, path: Path, wanted: dict[str, Any]) -> bool:
    """Whether the file is what was written for the same request; one that was changed is made again."""
    try:
        record = json.loads(run.animation.read_text(encoding="utf-8"))
        return isinstance(record, dict) and record == {"crc": checksum(path), **wanted}
    except (OSError, ValueError):
        return False
