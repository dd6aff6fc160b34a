"""`tilefarm verify`: is the sum over pieces really the untiled gradient, on this machine?"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tilefarm.errors import JobError
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.execute.protocol import Executor, Keep
from tilefarm.geometry import Box, Size
from tilefarm.image.mirror import write_view
from tilefarm.image.regions import RawRegions, write_regions
from tilefarm.image.resize import write_content
from tilefarm.image.window import open_raw, read_window
from tilefarm.plan.grid import BORDER
from tilefarm.plan.halo import Piece, ReceptiveField, partition, receptive_field
from tilefarm.plan.layers import deepest_of
from tilefarm.prepare import Prepared
from tilefarm.rundir.journal import Started
from tilefarm.settings import solver_settings
from tilefarm.solve.contract import LevelTargets, Picture, Regions, SolverSettings
from tilefarm.spec.regions import is_masked, regions_of
from tilefarm.spec.transport import Transport
from tilefarm.targets import Pieces, measure_mean_squares, measure_sums, style_moments, style_pieces

TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 1e-2}
"""Of the relative error. bfloat16 has 8 bits of mantissa, float16 11, and a piece's convolutions round
otherwise than the whole picture's."""
HALF_TOLERANCE = 5e-2
"""Where pictures travel in half the bytes: the gradient is that of a picture rounded to 2^-14, where some
units switch that do not in the picture as it is. 1.3e-2 was measured at 400x300 in float32."""

LARGEST_PIXELS = 1024 * 768
"""What is evaluated untiled: about 1.1 GiB in float32."""


@dataclass(frozen=True)
class Verdict:
    """How far the tiled evaluation is from the untiled one."""

    loss_rel_error: float
    statistics_rel_error: float
    """The largest over the style layers."""
    gradient_rel_error: float
    halo: int
    tile: int
    pieces: int
    width: int
    height: int
    precision: str
    tolerance: float
    transport: str = "auto"
    """How pictures travelled."""

    @property
    def holds(self) -> bool:
        """Whether all errors are within the tolerance."""
        worst = max(self.loss_rel_error, self.statistics_rel_error, self.gradient_rel_error)
        return worst <= self.tolerance


def verify_job(prepared: Prepared, executor: Executor, started: Started, number: int | None) -> Verdict:
    """Compare on a level of a job (None: the finest), or on its middle where the level is too large.

    The picture is the level's content with some noise, so that every term has a gradient. Raises JobError
    for a level that does not exist.
    """
    levels, job = prepared.plan.levels, prepared.job
    if number is not None and not 1 <= number <= len(levels):
        raise JobError(f"--level must be 1 to {len(levels)} for this job, got {number}")
    level = levels[-1 if number is None else number - 1]
    settings = solver_settings(job, started)
    field = receptive_field(job.network.name, deepest_of(job))
    with tempfile.TemporaryDirectory(prefix="tilefarm-verify-") as name:
        folder = Path(name)
        write_view(prepared.content, prepared.plan.view, level.size, folder / "level.f32")
        window = _window(level.size)
        content = read_window(open_raw(folder / "level.f32", level.size), window)
        content.tofile(folder / "content.f32")
        sums = []
        for index, size in enumerate(level.styles):
            style, path = prepared.styles[index], folder / "style.f32"
            write_content(style, Box.of(style.size), size, path)
            pieces = style_pieces(prepared, level, index, path, folder / "style-mask.f32")
            sums.append(measure_sums(executor, settings, pieces, lambda: None))
        squares = measure_mean_squares(
            executor,
            settings,
            Pieces.of(folder / "content.f32", window.size, job.tiles.side, field),
            lambda: None,
        )
        shares = _shares(prepared, level.size, window, folder / "regions.f32")
    weights, regions = [style.weight for style in job.styles], regions_of(job)
    moments = style_moments(sums, weights, [region.styles for region in regions])
    targets = LevelTargets("verify", moments, squares, (1.0,) * len(regions))
    noise = np.random.default_rng(job.seed).normal(0, 0.05, content.shape)
    picture = (content + noise).astype(np.float32)
    core = job.tiles.side
    if window.size.long_side <= core:  # the job would solve this level whole: cut it all the same
        core = max(field.stride, window.size.long_side // 2 // field.stride * field.stride)
    return verify(executor, settings, targets, picture, content, core, field, shares, job.compute.transport)


def _shares(prepared: Prepared, level: Size, window: Box, path: Path) -> Regions | None:
    """The regions' shares in a window of a level; None where there is one style for all."""
    if not is_masked(prepared.job):
        return None
    views = prepared.masks.views(prepared.plan.view, prepared.content.size)
    return write_regions(prepared.masks.regions, views, level, path).window(level, window)


def _window(level: Size) -> Box:
    """The whole level with its reflected border, or the part in its middle that can be evaluated untiled."""
    factor = min(1.0, (LARGEST_PIXELS / level.pixels) ** 0.5)
    width = max(1, int(level.width * factor)) + 2 * BORDER
    height = max(1, int(level.height * factor)) + 2 * BORDER
    left, top = (level.width - width) // 2, (level.height - height) // 2
    return Box(left, top, left + width, top + height)


def verify(
    executor: Executor,
    settings: SolverSettings,
    targets: LevelTargets,
    picture: Picture,
    content: Picture,
    core: int,
    field: ReceptiveField,
    shares: Regions | None = None,
    transport: Transport = "auto",
) -> Verdict:
    """Evaluate a picture (height, width, 3) in one piece and in cores of `core` pixels, and compare.

    `shares` (height, width, regions) says where the targets' regions are; None: one is everywhere. What the
    pieces lose in their `transport` counts among the errors; the whole picture loses nothing.
    Untiled is the same evaluation with a single piece, whose crop is the whole picture.
    """
    height, width = picture.shape[:2]
    size = Size(width, height)
    whole = (Piece(Box.of(size), Box.of(size)),)
    cut = tuple(partition(size, core, field))
    with tempfile.TemporaryDirectory(prefix="tilefarm-verify-") as name:
        folder = Path(name)
        content.astype("<f4").tofile(folder / "content.f32")
        picture.astype("<f4").tofile(folder / "point.f32")
        regions = None
        if shares is not None:
            shares.astype("<f4").tofile(folder / "regions.f32")
            regions = RawRegions(folder / "regions.f32", shares.shape[2])

        def run(label: str, pieces: tuple[Piece, ...]) -> tuple[WholeEvaluator, Picture]:
            evaluate = WholeEvaluator(
                executor,
                settings,
                targets,
                WholePicture(label, size, pieces, folder / "content.f32", regions=regions),
                Keep(graphs=0, contents=len(pieces)),
                _ignore,
                transport if len(pieces) > 1 else "float32",
            )
            evaluate(folder / "point.f32", folder / f"{label}.f32")
            return evaluate, np.array(open_raw(folder / f"{label}.f32", size))

        untiled, wanted = run("untiled", whole)
        tiled, found = run("tiled", cut)
    return Verdict(
        loss_rel_error=abs(tiled.losses.total / untiled.losses.total - 1),
        statistics_rel_error=_statistics_error(tiled, untiled),
        gradient_rel_error=_relative(found, wanted),
        halo=field.halo,
        tile=core,
        pieces=len(cut),
        width=width,
        height=height,
        precision=settings.precision,
        tolerance=max(TOLERANCE[settings.precision], HALF_TOLERANCE if transport == "half" else 0.0),
        transport=transport,
    )


def _statistics_error(tiled: WholeEvaluator, untiled: WholeEvaluator) -> float:
    """The largest of all layers."""
    found, wanted = tiled.sums.styles(), untiled.sums.styles()
    return max((_relative(found[name].products, wanted[name].products) for name in wanted), default=0.0)


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    difference = np.linalg.norm(found.astype(np.float64) - wanted.astype(np.float64))
    return float(difference / max(float(np.linalg.norm(wanted.astype(np.float64))), 1e-300))


def _ignore(done: int, total: int) -> None:
    """Nobody watches."""
