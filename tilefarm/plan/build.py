"""The plan of a run: every level with its grid, and what the whole will cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilefarm.geometry import Box, Size
from tilefarm.plan.grid import Grid
from tilefarm.plan.pyramid import pyramid, style_size
from tilefarm.spec.model import Job


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

    @property
    def size(self) -> Size:
        """The level's size in pixels."""
        return self.grid.level

    @property
    def evaluated_pixels(self) -> int:
        """Pixels that go forward and backward through the network on this level, all steps together."""
        return self.grid.tiles * self.grid.tile.pixels * self.rounds * self.iterations


@dataclass(frozen=True)
class RenderPlan:
    """All levels, coarse to fine."""

    content: Size
    """The content picture's size, its orientation applied."""
    crop: Box
    """The part of the content that is shown."""
    output: Size
    levels: tuple[LevelPlan, ...]

    @property
    def evaluated_pixels(self) -> int:
        """Pixels through the network, forward and backward, over the whole run."""
        return sum(level.evaluated_pixels for level in self.levels)

    @property
    def tiles(self) -> int:
        """Tile solves over the whole run."""
        return sum(level.grid.tiles * level.rounds for level in self.levels)


def build_plan(job: Job, content: Size, styles: Sequence[Size]) -> RenderPlan:
    """The plan for a job whose content and style pictures have these sizes (orientation applied).

    Levels that fit in one tile are solved whole with `pyramid.iterations`; larger ones tile by tile
    with `tiles.rounds` rounds of `tiles.iterations`.
    """
    target = job.output.target(content)
    levels = []
    for index, size in enumerate(pyramid(target.size, job.pyramid.smallest)):
        grid = Grid.of(size, job.tiles.size)
        levels.append(
            LevelPlan(
                index=index,
                grid=grid,
                rounds=1 if grid.is_whole else job.tiles.rounds,
                iterations=job.pyramid.iterations_at(index) if grid.is_whole else job.tiles.iterations,
                styles=tuple(
                    style_size(picture, size, style.scale)
                    for picture, style in zip(styles, job.styles, strict=True)
                ),
            )
        )
    return RenderPlan(content, target.crop, target.size, tuple(levels))
