"""A job's plan as work: which calls there are, how large they are, and what the driver does beside them."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tilefarm.execute.protocol import Keep, WorkerInfo
from tilefarm.geometry import Size
from tilefarm.placing import at_workers, bytes_at_each
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.estimate import optimizer_bytes
from tilefarm.plan.halo import partition, receptive_field
from tilefarm.plan.layers import deepest_of, style_layers
from tilefarm.prepare import Prepared
from tilefarm.rundir.journal import Started
from tilefarm.settings import choose, choose_keeps
from tilefarm.simulate.core_work import evaluations
from tilefarm.simulate.work import Chores, Item, LevelWork, Pass, Stage
from tilefarm.solve.contract import Weights
from tilefarm.spec.networks import channels_of
from tilefarm.spec.regions import is_masked, regions_of

PIXEL = 12
"""Bytes: three float32."""
FORWARD = 0.5
"""Of a pass forward and backward."""
CODED = {"float32": 1.0, "packed": 5 / 6, "half": 0.5}
"""What is left of the bytes of a picture."""
EXTRA_STEPS = 1.0
"""Of a tile beside its steps: its content goes forward once, and the loss at the end once."""


def chosen(prepared: Prepared, infos: Sequence[WorkerInfo]) -> tuple[Prepared, Started]:
    """What `auto` means on these workers: the very choice that a run makes."""
    started = choose(prepared, infos, Weights({}, "caffe", ""))
    return prepared.with_core(started.core), started


def work_of(prepared: Prepared, started: Started, infos: Sequence[WorkerInfo]) -> list[LevelWork]:
    """All levels, coarse to fine, with the writing of the picture in the last. The plan is `chosen`'s."""
    levels = [_Level(prepared, started, infos, level).work() for level in prepared.plan.levels]
    last = levels[-1]
    pixels = prepared.plan.output.pixels
    written = Stage("writing", (), Chores(pixels=pixels, synced=pixels * 3 * prepared.job.form.bit_depth / 8))
    return [*levels[:-1], LevelWork(last.index, last.pixels, (*last.stages, written))]


def passes_of(*, content: bool, graph: bool) -> tuple[int, int]:
    """How often a piece goes through the network in passes 1 and 2, by what of it is kept."""
    return 2 - content, 1 if graph else 3 - content


class _Level:
    def __init__(
        self, prepared: Prepared, started: Started, infos: Sequence[WorkerInfo], level: LevelPlan
    ) -> None:
        self._prepared, self._job = prepared, prepared.job
        self._started, self._infos, self._level = started, infos, level
        self._field = receptive_field(self._job.network.name, deepest_of(self._job))
        regions = len(regions_of(self._job))
        self._shares = 4 * regions if is_masked(self._job) else 0
        """Bytes of a pixel's shares of regions."""
        self._pixel = PIXEL + self._shares
        away = any(info.node != platform.node() for info in infos)
        wanted = self._job.compute.transport
        self._transport = wanted if wanted != "auto" else "packed" if away else "float32"
        self._coded = CODED[self._transport]
        channels = channels_of(self._job.network.name)
        self._layers = [channels[name] for name, _ in style_layers(self._job)]
        self._regions = max(1, regions)

    def work(self) -> LevelWork:
        """The level, from its pictures to its canvas."""
        level = self._level
        if level.pieces:
            stages = [self._preparing(), *self._evaluations()]
        else:
            stages = [self._preparing(), self._rounds()]
        return LevelWork(level.index, level.size.pixels, tuple(stages))

    def _preparing(self) -> Stage:
        """Content and styles are resized, then measured in pieces; the canvas starts."""
        level, side = self._level, self._job.tiles.side
        sizes = list(level.styles)
        if self._job.objective.style_target == "crop":
            tile = Size(side, side) if level.pieces else level.grid.tile
            sizes = [Size(min(size.width, tile.width), min(size.height, tile.height)) for size in sizes]
        passes = [self._measuring(size, self._moments(8, folded=False)) for size in sizes]
        passes.append(self._measuring(level.size, 64))
        decoded = level.size.pixels + sum(size.pixels for size in level.styles)
        return Stage(
            "preparing",
            tuple(passes),
            Chores(pixels=decoded, vectors=2 * PIXEL * level.size.pixels, synced=PIXEL * level.size.pixels),
        )

    def _measuring(self, size: Size, received: int) -> Pass:
        def items() -> Iterator[Item]:
            for index, piece in enumerate(partition(size, self._job.tiles.side, self._field)):
                pixels = piece.crop.size.pixels
                yield Item(index, pixels, 1, pixels * FORWARD, pixels * self._pixel, received)

        return Pass("measure", tuple(items()))

    def _rounds(self) -> Stage:
        """All tiles, and their blend: four tiles lie over every pixel."""
        level, job = self._level, self._job
        planes = 3 if job.optimizer.name == "adam" else 1
        tile, batch = level.grid.tile.pixels, self._started.batch
        steps = level.iterations + EXTRA_STEPS
        items = []
        for number, start in enumerate(range(0, level.grid.tiles, batch)):
            pixels = tile * min(batch, level.grid.tiles - start)
            sent = pixels * (PIXEL * planes + self._pixel)
            result = pixels * PIXEL * planes
            items.append(Item(number, pixels, level.iterations, pixels * steps, sent, result, result))
        passes = [Pass("solve", tuple(items), shared=self._targets())]
        if job.tiles.drift_correction and not level.grid.is_whole:
            passes.insert(0, self._measuring(level.size, self._moments(8, folded=False)))
            passes[1] = Pass("solve", tuple(items), shared=2 * self._targets())
        blended = planes * PIXEL * (level.grid.tiles * tile + 2 * level.size.pixels)
        chores = Chores(vectors=blended, resident=blended, synced=planes * PIXEL * level.size.pixels)
        return Stage("painting", tuple(passes), chores, level.rounds)

    def _evaluations(self) -> list[Stage]:
        """The first evaluation, for which nothing is kept yet, and those of the steps."""
        level = self._level
        precision, count = self._started.precision, len(self._infos)
        away = at_workers(self._prepared, level, self._infos, precision)
        vectors = bytes_at_each(self._prepared, level, count) if away else 0
        of = choose_keeps(self._prepared, level, lambda: self._infos, precision, vectors).of
        keeps = [of(info) for info in self._infos]
        first, later = (self._evaluation(keeps, held=held) for held in (False, True))
        if away:
            machines = [*Counter(info.node for info in self._infos).values()]
            return evaluations(level, machines, self._job.optimizer.history or 0, (first, later))
        return [
            Stage("evaluating", first, self._streaming(0)),
            Stage("evaluating", later, self._streaming(1), level.iterations),
        ]

    def _evaluation(self, keeps: Sequence[Keep], *, held: bool) -> tuple[Pass, Pass]:
        """Both passes. `keeps`: by worker. `held`: they have the content's features that they keep already.

        Which worker does a piece shows only in the simulation, so that each piece has a form for each `Keep`.
        """
        kinds = sorted(set(keeps), key=lambda keep: (keep.contents, keep.graphs, keep.crops), reverse=True)
        sums, slopes = zip(*(self._pieces(keep, held=held) for keep in kinds), strict=True)
        level = f"level {self._level.index}"
        of_workers = tuple(map(kinds.index, keeps)) if len(kinds) > 1 else ()
        return (
            Pass("piece_sums", _formed(sums), level=level, forms=of_workers),
            Pass("piece_gradient", _formed(slopes), self._targets(), level=level, forms=of_workers),
        )

    def _pieces(self, keep: Keep, *, held: bool) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
        """Both passes on workers that keep as much.

        Of a worker's pieces the first keep their content's features, and the first their graph.
        """
        pieces = range(len(self._level.pieces))
        rank = [index // len(self._infos) for index in pieces]
        contents, graphs = [n < keep.contents for n in rank], [n < keep.graphs for n in rank]
        crops = [n < keep.graphs + keep.crops for n in rank]
        sums = tuple(self._sum(index, contents[index] and held) for index in pieces)
        slopes = tuple(self._slope(index, contents[index], graphs[index], crops[index]) for index in pieces)
        return sums, slopes

    def _sum(self, index: int, content: bool) -> Item:
        """A piece in pass 1, whose content's features are kept, or not."""
        piece = self._level.pieces[index]
        pixels = piece.crop.size.pixels
        sent = pixels * PIXEL * self._coded
        if not content:
            sent += pixels * (PIXEL * self._coded + self._shares)
        received = self._moments(4 if self._transport == "half" else 8, folded=True)
        work = pixels * FORWARD * passes_of(content=content, graph=False)[0]
        full = self._sum(index, False) if content else None
        crop = round(pixels * PIXEL * self._coded)
        return Item(index, piece.core.size.pixels, 1, work, round(sent), received, full=full, crop_sent=crop)

    def _slope(self, index: int, content: bool, graph: bool, crop: bool) -> Item:
        """A piece in pass 2, whose content's features, graph and crop are kept, or not."""
        piece = self._level.pieces[index]
        pixels = piece.crop.size.pixels
        passes = passes_of(content=content, graph=graph)[1]
        sent = 0.0 if crop else pixels * PIXEL * self._coded
        if not (graph or content):
            sent += pixels * (PIXEL * self._coded + self._shares)
        received = round(pixels * PIXEL * self._coded)
        work, held = pixels * FORWARD * passes, content or graph or crop
        full = self._slope(index, False, False, False) if held else None
        again = 0 if crop else round(pixels * PIXEL * self._coded)
        return Item(index, piece.core.size.pixels, 1, work, round(sent), received, full=full, crop_sent=again)

    def _streaming(self, steps: int) -> Chores:
        """What the optimizer and the driver's own terms do with whole vectors in an evaluation."""
        level, job = self._level, self._job
        vector = PIXEL * level.grid.tile.pixels
        if not steps:
            streamed, committed = 7.0, 2
        elif job.optimizer.name == "lbfgs":  # with m pairs, 4 m + 2 of them for direction and products
            known = [min(job.optimizer.history or 0, step) for step in range(level.iterations)]
            streamed, committed = 4 * sum(known) / max(1, len(known)) + 19, 4
        elif job.optimizer.name == "adam":
            committed = 3 if job.optimizer.averaging else 2
            streamed, committed = 7.0 + 4 * committed, committed + 1
        else:
            streamed, committed = 30.0, 6
        resident = optimizer_bytes(job, level)
        extra = 4 if job.objective.tv_weight else 1
        return Chores(
            vectors=(streamed + committed + extra) * vector, resident=resident, synced=committed * vector
        )

    def _targets(self) -> int:
        """Bytes of a level's targets, or of slopes: means and products in float32."""
        return self._moments(4, folded=False)

    def _moments(self, value: int, *, folded: bool) -> int:
        """Bytes of moments of all style layers; of folded products only the upper triangle counts."""
        products = (channels * (channels + 1) // 2 if folded else channels**2 for channels in self._layers)
        return (sum(products) + sum(self._layers)) * value * self._regions


def _formed(forms: Sequence[tuple[Item, ...]]) -> tuple[Item, ...]:
    """The pieces as the first kind of workers gets them, with the forms for all kinds if there are more."""
    if len(forms) == 1:
        return forms[0]
    return tuple(replace(each[0], forms=each) for each in zip(*forms, strict=True))
