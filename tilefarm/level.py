"""One level of the pyramid: its pictures, its targets, its rounds in order."""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path

import numpy as np

from tilefarm.adam_moments import enlarge_moments, planes
from tilefarm.canvas.tile_store import TileStore
from tilefarm.events import LevelBegan, LevelFinished, PiecesProgress
from tilefarm.exact.level import paint_exact
from tilefarm.files import checksum, replacing, reserve, telling_when_full
from tilefarm.geometry import Size
from tilefarm.image.preview import write_preview
from tilefarm.image.regions import write_regions
from tilefarm.image.resize import enlarge, write_content
from tilefarm.integrity import is_intact
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.halo import receptive_field
from tilefarm.plan.layers import deepest_of
from tilefarm.rounds import Round, RunTools, level_regions
from tilefarm.rundir.journal import LevelStarted
from tilefarm.solve.contract import LevelTargets
from tilefarm.spec.regions import regions_of
from tilefarm.targets import (
    Pieces,
    load_targets,
    measure_mean_squares,
    measure_sums,
    region_weights,
    save_targets,
    style_moments,
    write_style,
)

NOISE_MEAN, NOISE_DEVIATION = 0.5, 0.15
"""Of `init: noise`: mid grey with some contrast, nearly all of it inside 0..1."""


class LevelRun:
    """Paints one level, from wherever the journal says that it was left."""

    def __init__(self, tools: RunTools, level: LevelPlan) -> None:
        self._tools = tools
        self._level = level
        self._index = level.index
        self._canvas = tools.run.canvas(level.index)
        self._content = tools.run.content(level.index)

    def render(self) -> None:
        """Bring the level to its end: all rounds blended and on record, the preview made."""
        level, state = self._level, self._tools.state
        self._tools.listen(
            LevelBegan(
                level=level.index,
                size=level.size,
                tiles=1 if level.pieces else level.grid.tiles,
                rounds=level.rounds,
                iterations=level.iterations,
                pieces=len(level.pieces),
            )
        )
        prepared = self._tools.prepared
        write_content(prepared.content, prepared.plan.crop, level.size, self._content)
        regions = level_regions(self._tools, level)
        if regions is not None:
            crops = prepared.masks.crops(prepared.plan.crop, prepared.content.size)
            write_regions(prepared.masks.regions, crops, level.size, regions.path)
        if not is_intact(self._tools.run, state, level):
            self._start()
        self._rounds(range(state.rounds_done(level.index), level.rounds))
        self._content.unlink()
        if regions is not None:
            regions.path.unlink()
        preview = self._tools.run.preview(level.index)
        preview.parent.mkdir(exist_ok=True)
        write_preview(self._canvas, level.size, preview)
        self._tools.listen(LevelFinished(level.index, level.size, str(preview)))

    def _start(self) -> None:
        """Make the starting canvas and the targets, and put them on record."""
        begin = time.monotonic()
        size, job = self._level.size, self._tools.prepared.job
        if self._index > 0:
            coarser = self._tools.prepared.plan.levels[self._index - 1].size
            enlarge(self._tools.run.canvas(self._index - 1), coarser, self._canvas, size)
        elif job.init == "noise":
            write_noise(self._canvas, size, job.seed)
        else:
            with telling_when_full(self._canvas), replacing(self._canvas) as temporary:
                shutil.copyfile(self._content, temporary)
        targets_crc = save_targets(self._tools.run.targets(self._index), self._measure_targets())
        moments_crc, slots = None, planes(self._tools.settings)
        if slots > 1 and self._index > 0:
            coarser_level = self._tools.prepared.plan.levels[self._index - 1]
            moments_crc = enlarge_moments(self._tools.run, coarser_level, self._level)
        line = LevelStarted(
            level=self._index,
            canvas_crc=checksum(self._canvas),
            targets_crc=targets_crc,
            seconds=time.monotonic() - begin,
            planes=slots,
            moments_crc=moments_crc,
        )
        self._tools.journal.append(line)
        self._tools.state.apply(line)

    def _measure_targets(self) -> LevelTargets:
        """Statistics of all styles and of the content at this level's size."""
        tools, job = self._tools, self._tools.prepared.job
        field = receptive_field(job.network.name, deepest_of(job))
        content = Pieces.of(self._content, self._level.size, job.tiles.side, field)
        styles = [self._style_pieces(number) for number in range(len(job.styles))]
        total = content.count + sum(pieces.count for pieces in styles)
        counter = itertools.count(1)

        def on_piece() -> None:
            tools.listen(PiecesProgress(self._index, "measuring", next(counter), total))

        sums = [measure_sums(tools.executor, tools.settings, pieces, on_piece) for pieces in styles]
        squares = measure_mean_squares(tools.executor, tools.settings, content, on_piece)
        for pieces in styles:
            pieces.path.unlink()
            if pieces.regions is not None:
                pieces.regions.path.unlink()
        weights, regions = [style.weight for style in job.styles], regions_of(job)
        moments = style_moments(sums, weights, [region.styles for region in regions])
        shared = level_regions(tools, self._level)
        if shared is None:
            return LevelTargets("", moments, squares)
        of_regions = [sum(weights[number] for number in region.styles) for region in regions]
        return LevelTargets("", moments, squares, region_weights(of_regions, shared.areas(self._level.size)))

    def _style_pieces(self, number: int) -> Pieces:
        """A style at this level's size, written out, with the part of it that is looked at."""
        run, size, side = self._tools.run, self._level.styles[number], self._tools.prepared.job.tiles.side
        tile = Size(side, side) if self._level.pieces else self._level.grid.tile
        files = run.style(self._index, number), run.style_mask(self._index, number)
        return write_style(self._tools.prepared, number, size, tile, files)

    def _rounds(self, numbers: range) -> None:
        tools, grid = self._tools, self._level.grid
        line = tools.state.levels[self._index]
        key = f"{tools.run.name}-{self._index}-{line.targets_crc}"
        targets = load_targets(tools.run.targets(self._index), key)
        if self._level.pieces:
            if numbers:
                paint_exact(tools, self._level, targets)
            return
        with TileStore(tools.run.tiles, grid.tile, grid.tiles, line.planes) as store:
            for number in numbers:
                Round(tools, self._level, number, store, targets).render()


def write_noise(path: Path, size: Size, seed: int) -> None:
    """A raw canvas of seeded noise, written row by row."""
    generator = np.random.default_rng(seed)
    with replacing(path) as temporary:
        reserve(temporary, size.pixels * 12)
        with temporary.open("r+b") as file:
            for _ in range(size.height):
                row = generator.normal(NOISE_MEAN, NOISE_DEVIATION, (size.width, 3))
                file.write(np.clip(row, 0, 1).astype("<f4").tobytes())
