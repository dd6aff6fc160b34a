"""`tilefarm export`: another size, format or profile of a finished run's picture, without rendering."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tilefarm.colouring import coloured
from tilefarm.errors import JobError
from tilefarm.files import new_name
from tilefarm.finished import (
    Finished,
    finished,
    held,
    kept_keys,
    open_run,
    overwritten,
    packet_of,
    told_as_typed,
    typed_output,
)
from tilefarm.geometry import Box, Size, View
from tilefarm.image.engine import raw_image, save_raw
from tilefarm.image.margin import with_margin
from tilefarm.image.resize import fitted
from tilefarm.output.check_target import check_proof, check_target
from tilefarm.output.proof import proof_beside
from tilefarm.output.write import write_output
from tilefarm.prepare import usable_memory
from tilefarm.spec.output import Output
from tilefarm.spec.output_presets import OUTPUT_PRESETS, SIZE_KEYS
from tilefarm.spec.sheet import Sheet, Target
from tilefarm.transparency import kept_alpha


@dataclass(frozen=True)
class Request:
    """What was typed."""

    run: Path
    keys: Mapping[str, Any]
    """Of `output`, without what was not given. Without a path the file is a new one beside the job's."""
    level: int | None = None
    """Counted from 1 at the coarsest; None: the finest, and so the whole picture."""


def export_again(request: Request, tell: Callable[[str], object] = str) -> Path:
    """Write the finished picture of a run in another form and return the file's path.

    It has the colours and the transparency that the run's job asks for. Other sizes come from the float
    canvas, by Lanczos-3 where they shrink and Catmull and Rom's cubic where they grow; a print of another
    shape is laid out as a job's would be. Memory does not grow with the picture. `tell` is given what was
    written beside it, a sentence. Raises JobError, before anything is written, for what cannot be done; else
    the errors of `write_output`.
    """
    run = open_run(request.run)
    with held(run):
        done = finished(run, request.level)
        output = _output(request, done)
        form = output.form(done.job.seed, done.job.color.wide)
        memory = usable_memory()
        with told_as_typed():
            target = _target(output, done)
            check_target(output.path, form, target.size, alpha=done.keeps_alpha, memory=memory)
            if output.proof is not None:
                check_proof(output.path, output.proof)
        xmp = packet_of(done, output, target.sheet)
        with _pixels(done, target) as (canvas, alpha):
            write_output(canvas, target.size, output.path, form, alpha, xmp)
            if output.proof is not None:
                tell(proof_beside(canvas, target.size, output.path, output.proof, form))
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
    problems += _without_transparency(given, done)
    if output is None or problems:
        raise JobError(problems)
    size = _sheet(done).size
    if output.preset is not None and "long_side" not in given and (output.long_side or 0) > size.long_side:
        output = output.model_copy(update={"long_side": None})  # a preset's is a limit here
    return output


def _without_transparency(given: Mapping[str, Any], done: Finished) -> Iterator[str]:
    preset = next((one for name, one in OUTPUT_PRESETS.items() if name == given.get("preset")), None)
    if preset is not None and not preset.alpha and done.keeps_alpha:
        yield (
            f"--preset {given['preset']} is for files without transparency, and the job of {done.run.root} "
            "keeps the content's; choose another preset, or submit the job with alpha: flatten"
        )


def _sheet(done: Finished) -> Sheet:
    """Of the whole picture: the file that the job asks for, or a coarser level with its margin of paper."""
    plan = done.prepared.plan
    return plan.sheet if done.level is plan.levels[-1] else plan.sheet.around(done.level.size)


def _target(output: Output, done: Finished) -> Target:
    """What is made of the whole picture. Raises JobError for a side that is too long."""
    sheet = _sheet(done)
    if all(getattr(output, key) is None for key in SIZE_KEYS):
        return Target(View.filling(Box.of(sheet.size), sheet.size), sheet)  # it is cut where the job's is
    return output.target(sheet.size)


@contextmanager
def _pixels(done: Finished, target: Target) -> Iterator[tuple[Path, Path | None]]:
    """The raw canvas and alpha at the target's size: working files in the run folder, whose names begin with
    a dot, so that what a killed process leaves goes when the run goes on."""
    color, plan, run = done.job.color.of_result, done.prepared.plan, done.run
    sheet = _sheet(done)
    with (
        coloured(done.prepared, run, done.level, color) as canvas,
        with_margin(canvas, sheet, run.root) as whole,
        kept_alpha(done.prepared, run) as alpha,
        TemporaryDirectory(dir=run.root, prefix=".export.") as folder,
    ):
        picture = _sized(whole, sheet.size, target.view, Path(folder) / "picture.f32")
        if alpha is None:
            yield picture, None
            return
        if sheet.size != plan.output:  # a coarser level has the finest one's alpha
            as_level = View.filling(Box.of(plan.output), sheet.size)
            alpha = _sized(alpha, plan.output, as_level, Path(folder) / "level.f32")
        yield picture, _sized(alpha, sheet.size, target.view, Path(folder) / "alpha.f32")


def _sized(source: Path, size: Size, view: View, path: Path) -> Path:
    """The part of a raw canvas that the view shows, in its size: the canvas itself where that is all."""
    if view == View.filling(Box.of(size), size):
        return source
    if view.place != Box.of(view.canvas):
        raise ValueError("a finished picture is cut to a print, and does not go on mirrored")
    with raw_image(source, size) as image:
        part = image.crop(view.crop.left, view.crop.top, view.crop.width, view.crop.height)
        save_raw(fitted(part, view.canvas), path)
    return path
