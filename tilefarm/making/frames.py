"""The frames of an animation, made one by one from two snapshots at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

from tilefarm.errors import TilefarmError
from tilefarm.geometry import Size
from tilefarm.image.engine import open_picture, reason
from tilefarm.image.resize import fitted
from tilefarm.rundir.layout import RunDir
from tilefarm.sealed import is_whole_picture

Frame = NDArray[np.uint8]
"""Shape (height, width, 3), sRGB."""

_NAME = re.compile(r"level-(\d+)-step-(\d+)\.jpg")


def snapshots_shown(run: RunDir, level: int | None) -> list[Path]:
    """The snapshots of one level, counted from 0, or with None of all, in the order of the work.

    Where all are shown, the start of a level is left out: it is the end of the level before, enlarged.
    """
    found = []
    for path in run.snapshots.glob("level-*.jpg"):
        if match := _NAME.fullmatch(path.name):
            found.append((int(match[1]), int(match[2]), path))
    if level is not None:
        return [path for number, _, path in sorted(found) if number == level]
    first = min(found)[0] if found else 0
    return [path for number, step, path in sorted(found) if step or number == first]


def frames(snapshots: Sequence[Path], positions: Sequence[float], size: Size) -> Iterator[Frame]:
    """One frame of `size` per position in the row of snapshots; between two, their mixture.

    Raises TilefarmError for a snapshot that cannot be read.
    """
    known: dict[int, Frame] = {}
    for position in positions:
        before = min(int(position), len(snapshots) - 1)
        share = position - before
        wanted = {before, before + 1} if share else {before}
        known = {index: known[index] for index in wanted & known.keys()}
        known |= {index: _load(snapshots[index], size) for index in wanted - known.keys()}
        if not share:
            yield known[before]
        else:
            mixed = (1 - share) * known[before].astype(np.float32) + share * known[before + 1]
            yield np.rint(mixed).astype(np.uint8)


def _load(path: Path, size: Size) -> Frame:
    if not is_whole_picture(path):
        raise TilefarmError(
            f"the snapshot {path} is damaged; remove it, and the animation does without it: tilefarm resume "
            f"{path.parent.parent}"
        )
    try:
        picture: Frame = fitted(open_picture(path), size).numpy()
    except (pyvips.Error, OSError) as error:
        why = reason(error) if isinstance(error, pyvips.Error) else str(error.strerror)
        raise TilefarmError(
            f"the snapshot {path} cannot be read ({why}); remove it, and the animation does without it"
        ) from error
    return picture
