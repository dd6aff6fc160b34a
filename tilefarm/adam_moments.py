"""Adam's memory between tiles, rounds and levels: means of the gradients and of their squares, as canvases.

They are free of the bias of their start (`solve.means`), so that blending, enlarging and scaling them
needs no correction, and how many gradients they stand for is known from the plan: every step of the levels
and rounds before.

A pixel of a finer level stands for less of the picture. An objective that is a mean over the picture has
gradients per pixel that fall with the number of pixels of the window it is worked out on: with r, the
pixels of the coarser level's window over those of the finer one's, the mean gradient is multiplied with r
and the mean square with r^2. The mean gradient is enlarged like the picture, the mean square linearly: a
cubic filter overshoots, and a square must not be negative.
"""

from __future__ import annotations

from pathlib import Path

from tilefarm.canvas.blend import blend
from tilefarm.canvas.tile_store import TileStore
from tilefarm.files import checksum, replacing, reserve
from tilefarm.geometry import Box
from tilefarm.image.resize import enlarge
from tilefarm.image.window import copy_window, open_raw, raw_bytes, read_window
from tilefarm.plan.build import LevelPlan, RenderPlan
from tilefarm.rundir.layout import RunDir
from tilefarm.solve.contract import SolverSettings
from tilefarm.solve.tasks import AdamMoments

MomentsCrc = tuple[int, int]
"""CRC-32 of the canvases of mean gradient and mean square."""


def planes(settings: SolverSettings) -> int:
    """How many pictures a tile's slot holds: with Adam the means beside the tile."""
    return 3 if settings.optimizer == "adam" else 1


def gradients_before(plan: RenderPlan, level: LevelPlan, number: int = 0) -> int:
    """The steps on every pixel before round `number` of a level."""
    coarser = sum(other.rounds * other.iterations for other in plan.levels[: level.index])
    return coarser + number * level.iterations


def hands_on(plan: RenderPlan, level: LevelPlan, number: int) -> bool:
    """Whether anything is painted after this round."""
    return (level.index, number) != (len(plan.levels) - 1, level.rounds - 1)


def enlarge_moments(run: RunDir, coarser: LevelPlan, level: LevelPlan) -> MomentsCrc:
    """Make a level's canvases from those of the level before it, durably."""
    share = coarser.grid.tile.pixels / level.grid.tile.pixels
    (gradient, square), targets = run.moments(coarser.index), run.moments(level.index)
    enlarge(gradient, coarser.size, targets[0], level.size, factor=share)
    enlarge(square, coarser.size, targets[1], level.size, interpolation="bilinear", factor=share**2)
    return checksum(targets[0]), checksum(targets[1])


def read_moments(run: RunDir, level: LevelPlan, box: Box, count: int) -> AdamMoments | None:
    """The part of a level's canvases where a tile lies, reflected around them; None where there are none."""
    if count == 0:
        return None
    gradient, square = (read_window(open_raw(path, level.size), box) for path in run.moments(level.index))
    return AdamMoments(gradient, square, count)


def copy_moments(run: RunDir, level: LevelPlan, gradient: Path, square: Path) -> None:
    """Write a level's canvases with their reflected border into the optimizer's files."""
    for source, target in zip(run.moments(level.index), (gradient, square), strict=True):
        copy_window(source, level.size, level.grid.box(0), target)


def keep_moments(run: RunDir, level: LevelPlan, means: tuple[Path, Path], inside: Box) -> MomentsCrc:
    """Make a level's canvases from the optimizer's files, without their border, durably."""
    for source, target in zip(means, run.moments(level.index), strict=True):
        with replacing(target) as temporary:
            copy_window(source, level.grid.tile, inside, temporary)
    gradient, square = run.moments(level.index)
    return checksum(gradient), checksum(square)


def blend_moments(run: RunDir, level: LevelPlan, store: TileStore) -> MomentsCrc:
    """Blend the means of a round's tiles, with the weights of the picture, which are never negative."""
    crcs = []
    for plane, path in enumerate(run.moments(level.index), start=1):
        reserve(path, raw_bytes(level.size))
        crcs.append(blend(store, level.grid, path, plane))
    return crcs[0], crcs[1]


def are_intact(run: RunDir, level: int, crcs: MomentsCrc | None) -> bool:
    """Whether a level's canvases are those on record; None: there are none on record."""
    paths = run.moments(level)
    return crcs is None or all(
        path.exists() and checksum(path) == crc for path, crc in zip(paths, crcs, strict=True)
    )
