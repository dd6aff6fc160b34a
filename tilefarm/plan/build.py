"""The plan of a run: every level with its grid, and what the whole will cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilefarm.geometry import Box, Size, View
from tilefarm.plan.grid import AxisGrid, Grid
from tilefarm.plan.halo import Piece, partition, receptive_field
from tilefarm.plan.layers import deepest_of
from tilefarm.plan.pyramid import pyramid, style_size
from tilefarm.spec.model import Job
from tilefarm.spec.sheet import Sheet
from tilefarm.spec.values import USUAL_TILE

_ENOUGH_PIECES = 4
_SMALLER_CORE = 1024
"""Of levels that larger cores would cut into fewer pieces than enough."""


@dataclass(frozen=True)
class LevelPlan:
    """One level of the pyramid."""

    index: int
    """0 is the coarsest."""
    grid: Grid
    rounds: int
    iterations: int
    """Optimizer steps per tile and round."""
    styles: tuple[Size, ...]
    """The size of each style picture at this level."""
    pieces: tuple[Piece, ...] = ()
    """Of the exact method: cores and crops of the grid's one window, the level with its reflected border.
    Empty where the window is evaluated at once, or where the level is painted in tiles."""

    @property
    def size(self) -> Size:
        """The level's size in pixels."""
        return self.grid.level

    @property
    def evaluated_pixels(self) -> int:
        """Pixels that go forward and backward through the network on this level, all steps together."""
        if self.pieces:
            return sum(piece.crop.size.pixels for piece in self.pieces) * (self.iterations + 1)
        return self.grid.tiles * self.grid.tile.pixels * self.rounds * self.iterations

    @property
    def units(self) -> int:
        """Tiles, or pieces of the exact method: what the level is cut into."""
        return len(self.pieces) or self.grid.tiles


@dataclass(frozen=True)
class RenderPlan:
    """All levels, coarse to fine."""

    content: Size
    """The content picture's size, its orientation applied."""
    view: View
    """The part of the content that is shown, and where it lies on the painted picture."""
    sheet: Sheet
    """The output file, where it is cut, and where the painted picture lies in it."""
    core: int
    """Of the exact method: the most pixels of a side that a piece has without its halo."""
    levels: tuple[LevelPlan, ...]

    @property
    def crop(self) -> Box:
        """The part of the content that is shown, in its pixels."""
        return self.view.crop

    @property
    def output(self) -> Size:
        """The output file's size."""
        return self.sheet.size

    @property
    def evaluated_pixels(self) -> int:
        """Pixels through the network, forward and backward, over the whole run."""
        return sum(level.evaluated_pixels for level in self.levels)

    @property
    def tiles(self) -> int:
        """Tile solves over the whole run; a piece of an exact level counts once."""
        return sum(level.units * level.rounds for level in self.levels)


def build_plan(job: Job, content: Size, styles: Sequence[Size], core: int | None = None) -> RenderPlan:
    """The plan for a job whose content and style pictures have these sizes (orientation applied).

    `core` is for exact jobs whose `tiles.size` is auto; without it pieces have the usual tile's size.

    Levels that fit in one tile (of the usual size, for the exact method with larger pieces) are solved whole
    with `pyramid.iterations`. Larger ones are painted tile by tile with `tiles.rounds` rounds of
    `tiles.iterations`, or, by the exact method, as a whole too, evaluated in pieces, with
    `pyramid.iterations`: its vectors then are in files, where a worker's memory holds those of a tile.
    """
    target = job.output.target(content)
    if core is None or job.tiles.size != "auto":
        core = job.tiles.side
    most_whole = job.tiles.side if job.method == "feathered" else min(job.tiles.side, USUAL_TILE)
    levels = []
    for index, size in enumerate(pyramid(target.view.canvas, job.pyramid.smallest)):
        grid = Grid.of(size, most_whole)
        tiled = not grid.is_whole and job.method == "feathered"
        pieces: tuple[Piece, ...] = ()
        if not grid.is_whole and job.method == "exact":
            grid = Grid(AxisGrid.whole(size.width), AxisGrid.whole(size.height))
            pieces = _pieces(job, grid.tile, core)
        levels.append(
            LevelPlan(
                index=index,
                grid=grid,
                rounds=job.tiles.rounds if tiled else 1,
                iterations=job.tiles.iterations if tiled else job.pyramid.iterations_at(index),
                styles=tuple(
                    style_size(picture, size, style.scale)
                    for picture, style in zip(styles, job.styles, strict=True)
                ),
                pieces=pieces,
            )
        )
    return RenderPlan(content, target.view, target.sheet, core, tuple(levels))


def _pieces(job: Job, window: Size, core: int) -> tuple[Piece, ...]:
    """Cores with the whole halo; where their size is left open, enough of them for several workers."""
    field = receptive_field(job.network.name, deepest_of(job))
    pieces = tuple(partition(window, core, field))
    if job.tiles.size == "auto" and core > _SMALLER_CORE and len(pieces) < _ENOUGH_PIECES:
        return tuple(partition(window, _SMALLER_CORE, field))
    return pieces
