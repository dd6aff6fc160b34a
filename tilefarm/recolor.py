"""`tilefarm recolor`: the colour step alone, on a finished run's canvas or on any picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast, get_args

from pydantic import ValidationError

from tilefarm.colour.transfer import Raw, transfer
from tilefarm.driver import load_run
from tilefarm.errors import JobError
from tilefarm.geometry import Box, Size
from tilefarm.image.decode import PictureInfo, inspect
from tilefarm.image.resize import write_content
from tilefarm.integrity import is_intact
from tilefarm.output.check_target import check_target
from tilefarm.output.write import write_output
from tilefarm.plan.build import build_plan
from tilefarm.prepare import readable, usable_memory
from tilefarm.rundir.journal import read_journal
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.rundir.state import RunState
from tilefarm.spec.color import ColorMode
from tilefarm.spec.files import input_files
from tilefarm.spec.output import Output
from tilefarm.spec.paths import same_file
from tilefarm.spec.problems import sentence
from tilefarm.spec.values import did_you_mean

MODES: tuple[ColorMode, ...] = tuple(mode for mode in get_args(ColorMode) if mode != "luminance")
"""What can be done to a finished picture; luminance must be painted."""


@dataclass(frozen=True)
class Request:
    """What was typed."""

    source: Path
    """A run folder, or a picture."""
    output: Path
    mode: str | None = None
    """None: what the run's job asks for its result."""
    content: Path | None = None
    """None: that of the run's job."""
    dpi: float | None = None
    """None: that of the run's job, else 300."""
    bit_depth: int | None = None
    """None: 16 for TIFF, else 8."""


@dataclass(frozen=True)
class _Source:
    """A finished picture, and whose colours it shall have."""

    size: Size
    pixels: Path | PictureInfo
    """A run's canvas, or a picture that is still to be decoded."""
    content: PictureInfo
    crop: Box
    """The content's part that the picture shows."""
    mode: ColorMode
    clear: tuple[PictureInfo, Box] | None = None
    """The picture, and its part, whose transparency the output gets; None for none."""
    seed: int = 0
    """Of the noise in 8 bits."""


def recolor(request: Request, tell: Callable[[str], object] = str) -> Path:
    """Write the finished picture with other colours and return the file's path. Nothing is rendered.

    `tell` is given what happens to the pictures on the way in, a sentence each. A run keeps its transparency
    where its job says so. Raises JobError, before anything is written, for what cannot be done; else the
    errors of `write_output`.
    """
    output = _checked(request)
    if not request.source.is_dir():
        source = _of_picture(request, tell)
        _check_target(source, output)
        _write(source, output, output.path.parent)
        return output.path
    run = RunDir(request.source.absolute())
    if not run.exists():
        raise JobError(f"{run.root} holds no job.yaml; name a run folder such as runs/NAME-HASH, or a file")
    with RunLock(run):
        source, dpi = _of_run(request, run, tell)
        if source.clear is not None and output.format == "jpeg":
            raise JobError(
                f"--output must be a .tif or .png file, got {output.path.name}: the job of {run.root} keeps "
                "the content's transparency, which JPEG has none of"
            )
        if request.dpi is None:
            output = output.model_copy(update={"dpi": dpi})
        _check_target(source, output)
        _write(source, output, run.root)
    return output.path


def _checked(request: Request) -> Output:
    """The output, if nothing that was typed is wrong. Raises JobError with all mistakes."""
    problems = []
    if request.mode is not None and request.mode not in MODES:
        advice = did_you_mean(request.mode, MODES)
        if request.mode == "luminance":
            advice = "; luminance is a way to paint; for a finished picture use content_luma"
        problems.append(f"--mode must be one of {', '.join(MODES)}, got {request.mode!r}{advice}")
    if not request.source.exists():
        problems.append(f"{request.source} does not exist; name a run folder, or a picture's file")
    elif not request.source.is_dir():
        for key in ("mode", "content"):
            if getattr(request, key) is None:
                problems.append(f"--{key} is missing; only a run knows its own, a picture needs it")
    elif request.mode == "style" and request.content is not None:
        problems.append("--content cannot be given with --mode style, which changes no colours; remove it")
    for key, path in (("the picture", request.source), ("--content", request.content)):
        if path is not None and same_file(path.absolute(), request.output.absolute()):
            problems.append(f"--output would overwrite {key}, {path}; choose another file")
    try:
        given = {"path": request.output, "dpi": request.dpi, "bit_depth": request.bit_depth}
        output = Output.model_validate(given, context={"folder": Path.cwd()})
    except ValidationError as error:
        options = {"path": "--output", "dpi": "--dpi", "bit_depth": "--bit-depth"}
        problems += [sentence(e, (options.get(str(e["loc"][0]), str(e["loc"][0])),)) for e in error.errors()]
    if problems:
        raise JobError(problems)
    return output


def _of_run(request: Request, run: RunDir, tell: Callable[[str], object]) -> tuple[_Source, float]:
    """The finished canvas of a run, and its job's resolution."""
    job, _ = load_run(run)
    for key, path in (*input_files(job), ("the run's own picture", job.output.path)):
        if same_file(path, request.output.absolute()):
            way = "" if path != job.output.path else ", or submit the job with --set color=MODE"
            raise JobError(f"--output would overwrite {key}, {path}; choose another file{way}")
    content = inspect(job.content, "content").on(job.alpha.rgb, job.alpha.background)
    plan = build_plan(job, content.size, [inspect(style.image, "style").size for style in job.styles])
    state, last = RunState.replay(read_journal(run.journal)), plan.levels[-1]
    if state.rounds_done(last.index) < last.rounds or not is_intact(run, state, last):
        raise JobError(f"{run.root} is not finished; finish it first: tilefarm resume {run.root}")
    mode = job.color.of_result if request.mode is None else cast(ColorMode, request.mode)
    crop = plan.crop
    clear = (content, crop) if job.alpha.mode == "keep" and content.has_alpha else None
    if request.content is not None:
        if mode == "style":
            raise JobError(
                f"--content needs a --mode: the job of {run.root} gives the result no other colours "
                f"(color: {job.color.mode})"
            )
        content, crop = _other_content(request.content, plan.output, tell)
    return _Source(plan.output, run.canvas(last.index), content, crop, mode, clear, job.seed), job.output.dpi


def _of_picture(request: Request, tell: Callable[[str], object]) -> _Source:
    """A picture; its mode and content are known to be given."""
    picture = _told(request.source, "picture", tell)
    content, crop = _other_content(cast(Path, request.content), picture.size, tell)
    return _Source(picture.size, picture, content, crop, cast(ColorMode, request.mode))


def _told(path: Path, label: str, tell: Callable[[str], object]) -> PictureInfo:
    """A picture whose every pixel decodes, and what happens to it on the way in."""
    info = readable(path, label)
    for note in info.notes:
        tell(f"{label}: {note}")
    return info


def _other_content(path: Path, size: Size, tell: Callable[[str], object]) -> tuple[PictureInfo, Box]:
    """A content of the shape of a picture of this size, to a pixel; all of it is used."""
    content = _told(path, "content", tell)
    shape = content.size.fit_long_side(size.long_side)
    if max(abs(shape.width - size.width), abs(shape.height - size.height)) > 1:
        raise JobError(
            f"content: {path} must have the shape of the picture, {size}, got {content.size}; cut it"
        )
    return content, Box.of(content.size)


def _check_target(source: _Source, output: Output) -> None:
    alpha = source.clear is not None
    check_target(output.path, output.form(source.seed), source.size, alpha=alpha, memory=usable_memory())


def _write(source: _Source, output: Output, folder: Path) -> None:
    """Colour in working files inside `folder`, and write the output from them."""
    with TemporaryDirectory(dir=folder, prefix=".recolor.") as name:
        content, result = Path(name) / "content.f32", Path(name) / "result.f32"
        canvas = source.pixels
        if isinstance(canvas, PictureInfo):
            canvas = Path(name) / "picture.f32"
            write_content(cast(PictureInfo, source.pixels), Box.of(source.size), source.size, canvas)
        if source.mode != "style":
            write_content(source.content, source.crop, source.size, content)
            transfer(source.mode, Raw(canvas, source.size), Raw(content, source.size), result)
            content.unlink()
            canvas = result
        alpha = None
        if source.clear is not None:
            alpha = Path(name) / "alpha.f32"
            write_content(*source.clear, source.size, alpha, part="alpha")
        write_output(canvas, source.size, output.path, output.form(source.seed), alpha)
