"""`tilefarm export`: another size, format or profile of a finished run's picture, without rendering."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tilefarm.colouring import coloured
from tilefarm.errors import JobError
from tilefarm.files import new_name
from tilefarm.finished import Finished, finished, kept_keys, open_run, overwritten, packet_of, typed_output
from tilefarm.geometry import Box, Size, View
from tilefarm.image.engine import raw_image, save_raw
from tilefarm.image.margin import with_margin
from tilefarm.image.resize import fitted
from tilefarm.output.check_target import check_target
from tilefarm.output.write import write_output
from tilefarm.rundir.layout import RunLock
from tilefarm.spec.output import Output
from tilefarm.spec.output_presets import SIZE_KEYS
from tilefarm.spec.sheet import Sheet, Target
from tilefarm.spec.sheet import whole as all_of
from tilefarm.transparency import kept_alpha


@dataclass(frozen=True)
class Request:
    """What was typed."""

    run: Path
    keys: Mapping[str, Any]
    """Of `output`, without what was not given. Without a path the file is a new one beside the job's."""
    level: int | None = None
    """Counted from 1 at the coarsest; None: the finest, and so the whole picture."""


def export_again(request: Request) -> Path:
    """Write the finished picture of a run in another form and return the file's path.

    It has the colours and the transparency that the run's job asks for. Other sizes come from the float
    canvas, by Lanczos-3 where they shrink and Catmull and Rom's cubic where they grow; for a print of another
    shape it is cut evenly. Memory does not grow with the picture. Raises JobError, before anything is
    written, for what cannot be done; else the errors of `write_output`.
    """
    run = open_run(request.run)
    with RunLock(run):
        done = finished(run, request.level)
        output = _output(request, done)
        target = _target(output, done)
        form = output.form(done.job.seed)
        check_target(output.path, form, target.size, alpha=done.keeps_alpha)
        xmp = packet_of(done, output, target.sheet)
        with _pixels(done, target) as (canvas, alpha):
            write_output(canvas, target.size, output.path, form, alpha, xmp)
    return output.path


def _output(request: Request, done: Finished) -> Output:
    """The output section of the new file. Raises JobError with everything that is wrong with it."""
    given = dict(request.keys)
    given.setdefault("path", new_name(done.job.output.path, "export"))
    output, problems = typed_output({**kept_keys(done.job, given, Path(given["path"])), **given})
    problems += overwritten(done.job, Path(given["path"]))
    if output is not None and output.format == "jpeg" and done.keeps_alpha:
        problems.append(
            f"--output must be a .tif, .png or .webp file, got {output.path.name}: the job of "
            f"{done.run.root} keeps the content's transparency, which JPEG has none of"
        )
    if output is None or problems:
        raise JobError(problems)
    size = _size(done)
    if output.preset is not None and "long_side" not in given and (output.long_side or 0) > size.long_side:
        output = output.model_copy(update={"long_side": None})  # a preset's is a limit here
    return output


def _size(done: Finished) -> Size:
    """Of the whole picture: of the file that the job asks for, or of a coarser level's canvas."""
    plan = done.prepared.plan
    return plan.output if done.level is plan.levels[-1] else done.level.size


def _target(output: Output, done: Finished) -> Target:
    """What is made of the whole picture. Raises JobError for a side that is too long."""
    size, sheet = _size(done), done.prepared.plan.sheet
    if size == sheet.size and all(getattr(output, key) is None for key in SIZE_KEYS):
        return Target(View.filling(Box.of(size), size), sheet)  # it is cut where the job's is
    return output.target(size)


@contextmanager
def _pixels(done: Finished, target: Target) -> Iterator[tuple[Path, Path | None]]:
    """The raw canvas and alpha at the target's size: working files in the run folder, whose names begin with
    a dot, so that what a killed process leaves goes when the run goes on."""
    color, plan, run = done.job.color.of_result, done.prepared.plan, done.run
    with (
        coloured(done.prepared, run, done.level, color) as canvas,
        with_margin(canvas, _margin(done), run.root) as whole,
        kept_alpha(done.prepared, run) as alpha,
        TemporaryDirectory(dir=run.root, prefix=".export.") as folder,
    ):
        size = _size(done)
        picture = _sized(whole, size, target, Path(folder) / "picture.f32")
        if alpha is None:
            yield picture, None
            return
        if size != plan.output:  # a coarser level has the finest one's alpha
            alpha = _sized(alpha, plan.output, all_of(plan.output, size), Path(folder) / "level.f32")
        yield picture, _sized(alpha, size, target, Path(folder) / "alpha.f32")


def _margin(done: Finished) -> Sheet:
    """The sheet around the canvas; a coarser level has none."""
    size, sheet = _size(done), done.prepared.plan.sheet
    return sheet if size == sheet.size else Sheet.plain(size)


def _sized(source: Path, size: Size, target: Target, path: Path) -> Path:
    """The part of a raw canvas that the target shows, in its size: the canvas itself where that is all."""
    if target.size == size and target.crop == Box.of(size):
        return source
    crop = target.crop
    with raw_image(source, size) as image:
        part = image.crop(crop.left, crop.top, crop.width, crop.height)
        save_raw(fitted(part, target.size), path)
    return path
