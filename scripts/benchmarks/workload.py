"""What is evaluated: the default job's objective on pictures made here. torch is imported late.

Speed does not depend on what the pictures show, so waves with some grain do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tilefarm
from scripts.benchmarks.context import Bench
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Executor, Keep
from tilefarm.geometry import Box, Size
from tilefarm.plan.estimate import evaluation_flop
from tilefarm.plan.halo import Piece, ReceptiveField, partition, receptive_field
from tilefarm.plan.layers import deepest_of
from tilefarm.rundir.journal import Started
from tilefarm.settings import solver_settings
from tilefarm.solve.contract import LevelTargets, Precision, SolverSettings, Weights
from tilefarm.solve.weights import load_weights
from tilefarm.spec.model import Job, Style
from tilefarm.spec.networks import Stage, stages_to
from tilefarm.spec.output import Output
from tilefarm.targets import Pieces, measure_mean_squares, measure_sums, picture_moments

STYLE = Size(256, 192)
_GRAIN = 0.05


@dataclass(frozen=True)
class Workload:
    """A picture to be evaluated and what it is compared with."""

    size: Size
    settings: SolverSettings
    targets: LevelTargets
    point: Path
    """The raw picture."""
    content: Path
    """Its raw content."""

    @property
    def gradient(self) -> Path:
        """Where evaluations may write the gradient."""
        return self.point.with_name("gradient.f32")

    def evaluator(self, executor: Executor, pieces: Sequence[Piece], keep: Keep) -> WholeEvaluator:
        """An evaluation in these pieces, by an executor that serves no other: workers keep its state."""
        picture = WholePicture(self.targets.key, self.size, tuple(pieces), self.content)
        return WholeEvaluator(executor, self.settings, self.targets, picture, keep, _ignore)


def default_job(output: Size) -> Job:
    """The default job by the exact method. Its pictures exist on no disk."""
    return Job(
        name="benchmark",
        content=Path("/benchmark/content.png"),
        styles=(Style(image=Path("/benchmark/style.png")),),
        output=Output(path=Path("/benchmark/output.tif"), width=output.width),
        method="exact",
    )


def default_settings(precision: Precision) -> SolverSettings:
    """The default job's network and objective."""
    started = Started(version=tilefarm.__version__, weights_sha256="", precision=precision, batch=1, core=512)
    return solver_settings(default_job(Size(1, 1)), started)


def load_default_weights() -> Weights:
    """The default job's."""
    network = default_job(Size(1, 1)).network
    return load_weights(network.name, network.weights, network.preprocessing)


def default_stages() -> tuple[Stage, ...]:
    """The default network up to the default objective's deepest layer."""
    job = default_job(Size(1, 1))
    return stages_to(job.network.name, deepest_of(job))


def default_field() -> ReceptiveField:
    """What the default objective's deepest layer sees."""
    job = default_job(Size(1, 1))
    return receptive_field(job.network.name, deepest_of(job))


def flop_per_pixel() -> float:
    """Operations of one forward and backward pass of the default objective."""
    job = default_job(Size(1, 1))
    return evaluation_flop(job.network.name, deepest_of(job))


def cut(size: Size, core: int) -> tuple[Piece, ...]:
    """The exact method's pieces of a picture, with cores of about `core` pixels a side."""
    return tuple(partition(size, core, default_field()))


def whole(size: Size) -> tuple[Piece, ...]:
    """A picture as a single piece."""
    return (Piece(Box.of(size), Box.of(size)),)


def local_executor(bench: Bench) -> Executor:
    """A worker in this process, with torch."""
    from tilefarm.execute.worker import TileWorker

    return LocalExecutor(TileWorker(bench.weights, "cpu", bench.machine.threads))


def make_workload(folder: Path, executor: Executor, precision: Precision, size: Size) -> Workload:
    """Pictures of this size in `folder`, and targets measured by the executor."""
    settings = default_settings(precision)
    point, content, style = (folder / f"{name}-{size}.f32" for name in ("point", "content", "style"))
    write_picture(point, size, 1)
    write_picture(content, size, 2)
    write_picture(style, STYLE, 3)
    field = default_field()
    painting = Pieces.of(style, STYLE, STYLE.width, field)
    part = Size(min(size.width, STYLE.width), min(size.height, STYLE.height))
    targets = LevelTargets(
        key="benchmark",
        styles=picture_moments(measure_sums(executor, settings, painting, _nothing)),
        content_mean_squares=measure_mean_squares(
            executor, settings, Pieces.centred(content, size, part), _nothing
        ),
    )
    return Workload(size, settings, targets, point, content)


def write_picture(path: Path, size: Size, seed: int) -> None:
    """A raw picture, written row by row: one of 28 megapixels must not need memory."""
    generator = np.random.default_rng(seed)
    phases = generator.uniform(0, 2 * np.pi, (2, 3))
    x = np.arange(size.width)[:, None]
    with path.open("wb") as file:
        for y in range(size.height):
            waves = np.sin(x / 23 + y / 41 + phases[0]) + np.sin(x / 7 - y / 11 + phases[1])
            row = 0.5 + 0.2 * waves + generator.normal(0, _GRAIN, (size.width, 3))
            file.write(row.astype("<f4").tobytes())


def _ignore(done: int, total: int) -> None:
    """Nobody watches."""


def _nothing() -> None:
    """Nobody watches."""
