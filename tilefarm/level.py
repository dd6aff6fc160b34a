"""One level of the pyramid: its pictures, its targets, its rounds in order."""

from __future__ import annotations

import itertools
import shutil
import time

from tilefarm import faults
from tilefarm.adam_moments import enlarge_moments, planes
from tilefarm.canvas.tile_store import TileStore
from tilefarm.colour.transfer import Raw
from tilefarm.colouring import colour_content, colour_style, coloured
from tilefarm.events import LevelBegan, LevelFinished, PiecesProgress
from tilefarm.exact.level import paint_exact
from tilefarm.files import checksum
from tilefarm.geometry import Box
from tilefarm.image.mirror import write_view
from tilefarm.image.preview import write_preview
from tilefarm.image.regions import RawRegions, write_regions
from tilefarm.image.resize import enlarge, write_content
from tilefarm.integrity import is_intact
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.halo import receptive_field
from tilefarm.plan.layers import deepest_of
from tilefarm.rounds import Round, RunTools, level_regions
from tilefarm.rundir.journal import LevelStarted
from tilefarm.solve.contract import LevelTargets
from tilefarm.spec.regions import regions_of
from tilefarm.start import write_start
from tilefarm.targets import (
    Pieces,
    cut_style,
    load_targets,
    measure_mean_squares,
    measure_sums,
    region_weights,
    save_targets,
    style_moments,
    write_style_mask,
)


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
        self._tools.pauses.rest()
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
        write_view(prepared.content, prepared.plan.view, level.size, self._content)
        colour_content(prepared.job.color, Raw(self._content, level.size))
        regions = level_regions(self._tools, level)
        if regions is not None:
            views = prepared.masks.views(prepared.plan.view, prepared.content.size)
            write_regions(prepared.masks.regions, views, level.size, regions.path)
        faults.reached("level: content written")
        if not is_intact(self._tools.run, state, level):
            self._start()
        self._rounds(range(state.rounds_done(level.index), level.rounds))
        self._content.unlink()
        faults.reached("level: content removed")
        if regions is not None:
            regions.path.unlink()
        preview = self._tools.run.preview(level.index)
        preview.parent.mkdir(exist_ok=True)
        write_preview(self._canvas, level.size, preview)
        faults.reached("level: preview written")
        self._tools.listen(LevelFinished(level.index, level.size, str(preview)))

    def _start(self) -> None:
        """Make the starting canvas and the targets, and put them on record."""
        begin = time.monotonic()
        prepared, run = self._tools.prepared, self._tools.run
        shutil.rmtree(run.optimizer(self._index), ignore_errors=True)  # of a start before
        styles = self._write_styles()
        faults.reached("level: styles written")
        if self._index > 0:
            coarser = prepared.plan.levels[self._index - 1]
            with coloured(prepared, run, coarser, prepared.job.color.of_levels) as canvas:
                enlarge(canvas, coarser.size, self._canvas, self._level.size)
        else:
            write_start(prepared, self._content, styles, self._canvas)
        faults.reached("level: canvas written")
        targets_crc = save_targets(run.targets(self._index), self._measure_targets(styles))
        faults.reached("level: targets saved")
        moments_crc, slots = None, planes(self._tools.settings)
        if slots > 1 and self._index > 0:
            moments_crc = enlarge_moments(run, prepared.plan.levels[self._index - 1], self._level)
            faults.reached("level: means enlarged")
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

    def _write_styles(self) -> list[Raw]:
        """The styles at this level's size, with the colours that the job asks for, and the masks on them."""
        prepared = self._tools.prepared
        styles = []
        for number, (picture, size) in enumerate(zip(prepared.styles, self._level.styles, strict=True)):
            path = self._tools.run.style_mask(self._index, number)
            mask = write_style_mask(prepared, self._level, number, path)
            style = Raw(self._tools.run.style(self._index, number), size, None if mask is None else mask.path)
            write_content(picture, Box.of(picture.size), size, style.path)
            colour_style(prepared.job.color, style, Raw(self._content, self._level.size))
            styles.append(style)
        return styles

    def _measure_targets(self, pictures: list[Raw]) -> LevelTargets:
        """Statistics of all styles and of the content at this level's size."""
        tools, job = self._tools, self._tools.prepared.job
        field = receptive_field(job.network.name, deepest_of(job))
        content = Pieces.of(self._content, self._level.size, job.tiles.side, field)
        styles = [
            cut_style(
                job,
                self._level,
                number,
                picture.path,
                None if picture.shares is None else RawRegions(picture.shares, 1),
            )
            for number, picture in enumerate(pictures)
        ]
        total = content.count + sum(pieces.count for pieces in styles)
        counter = itertools.count(1)

        def on_piece() -> None:
            tools.listen(PiecesProgress(self._index, "measuring", next(counter), total))

        measure = measure_sums if tools.statistics is None else tools.statistics.style_sums
        sums = [measure(tools.executor, tools.settings, pieces, on_piece) for pieces in styles]
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
