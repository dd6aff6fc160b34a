"""`tilefarm recolor`: the colour step alone, on a finished run's canvas or on any picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast, get_args

from tilefarm.colour.transfer import Raw, transfer
from tilefarm.colouring import coloured
from tilefarm.errors import JobError
from tilefarm.finished import (
    Finished,
    finished,
    held,
    kept_keys,
    open_run,
    overwritten,
    packet_of,
    typed_output,
)
from tilefarm.geometry import Box, Size, View
from tilefarm.image.decode import PictureInfo
from tilefarm.image.margin import with_margin
from tilefarm.image.mirror import write_view
from tilefarm.image.resize import write_content
from tilefarm.output.check_target import check_target
from tilefarm.output.write import write_output
from tilefarm.prepare import readable, usable_memory
from tilefarm.spec.color import Color, ColorMode
from tilefarm.spec.output import Output
from tilefarm.spec.paths import same_file
from tilefarm.spec.sheet import nearer
from tilefarm.spec.values import did_you_mean
from tilefarm.transparency import kept_alpha

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
    keys: Mapping[str, Any] = field(default_factory=dict)
    """More keys of `output`; what is not given is as in the run's job where that fits the file."""


def recolor(request: Request, tell: Callable[[str], object] = str) -> Path:
    """Write the finished picture with other colours and return the file's path. Nothing is rendered.

    `tell` is given what happens to the pictures on the way in, a sentence each. A run keeps its transparency
    where its job says so. Raises JobError, before anything is written, for what cannot be done; else the
    errors of `write_output`.
    """
    output = _checked(request)
    if request.source.is_dir():
        run = open_run(request.source)
        with held(run):
            _of_run(request, finished(run), tell)
    else:
        _of_picture(request, output, tell)
    return output.path


def _given(request: Request) -> dict[str, Any]:
    typed = {"path": request.output, "dpi": request.dpi, "bit_depth": request.bit_depth, **request.keys}
    return {key: value for key, value in typed.items() if value is not None}


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
        for key in ("mode",) if request.mode == "style" else ("mode", "content"):
            if getattr(request, key) is None:
                problems.append(f"--{key} is missing; only a run knows its own, a picture needs it")
    if request.mode == "style" and request.content is not None:
        problems.append("--content cannot be given with --mode style, which changes no colours; remove it")
    for key, path in (("the picture", request.source), ("--content", request.content)):
        if path is not None and same_file(path.absolute(), request.output.absolute()):
            problems.append(f"--output would overwrite {key}, {path}; choose another file")
    output, mistakes = typed_output(_given(request))
    if output is None or problems:
        raise JobError([*problems, *mistakes])
    return output


def _of_run(request: Request, done: Finished, tell: Callable[[str], object]) -> None:
    """The finished canvas of a run, in the colours of its job's content or of another picture."""
    job, plan = done.job, done.prepared.plan
    given = _given(request)
    output, problems = typed_output({**kept_keys(job, given), **given})
    problems += overwritten(job, request.output)
    if output is None or problems:
        raise JobError(problems)
    mode = job.color.of_result if request.mode is None else cast(ColorMode, request.mode)
    if done.keeps_alpha and output.format == "jpeg":
        raise JobError(
            f"--output must be a .tif, .png or .webp file, got {output.path.name}: the job of "
            f"{done.run.root} keeps the content's transparency, which JPEG has none of"
        )
    lender = done.prepared
    if request.content is not None:
        if mode == "style":
            raise JobError(
                f"--content needs a --mode: the job of {done.run.root} gives the result no other colours "
                f"(color: {job.color.mode})"
            )
        content, view = _other_content(request.content, plan.view, tell)
        lender = replace(lender, content=content, plan=replace(plan, view=view))
    form = output.form(job.seed, job.color.wide and mode == "style")  # other modes know sRGB alone
    memory = usable_memory()
    check_target(output.path, form, plan.output, alpha=done.keeps_alpha, memory=memory)
    xmp = _packet(request, done, output, mode)
    with (
        coloured(lender, done.run, done.level, mode) as canvas,
        with_margin(canvas, plan.sheet, done.run.root) as picture,
        kept_alpha(done.prepared, done.run) as alpha,
    ):
        write_output(picture, plan.output, output.path, form, alpha, xmp)


def _packet(request: Request, done: Finished, output: Output, mode: ColorMode) -> bytes | None:
    """The record says the colour step as a job would, where one can."""
    sheet, color = done.prepared.plan.sheet, done.job.color
    if mode == color.of_result and request.content is None:
        return packet_of(done, output, sheet)
    if request.content is None and not color.deciding:
        return packet_of(done, output, sheet, Color(mode=mode, when=None if mode == "style" else "after"))
    lender = "" if request.content is None else " of another picture"
    return packet_of(done, output, sheet, recolored=f"{mode}{lender}")


def _of_picture(request: Request, output: Output, tell: Callable[[str], object]) -> None:
    """A picture; its mode is known to be given, and a content for all but `style`.

    What it is written from is beside the output.
    """
    picture = _told(request.source, "picture", tell)
    size, mode = picture.size, cast(ColorMode, request.mode)
    lender = None
    if request.content is not None:
        lender = _other_content(request.content, View.filling(Box.of(size), size), tell)
    check_target(output.path, output.form(0), size, memory=usable_memory())
    with TemporaryDirectory(dir=output.path.parent, prefix=".recolor.") as name:
        canvas = Path(name) / "picture.f32"
        write_content(picture, Box.of(size), size, canvas)
        if lender is not None:
            colours, result = Path(name) / "content.f32", Path(name) / "result.f32"
            write_view(*lender, size, colours)
            transfer(mode, Raw(canvas, size), Raw(colours, size), result)
            colours.unlink()
            canvas = result
        write_output(canvas, size, output.path, output.form(0))


def _told(path: Path, label: str, tell: Callable[[str], object]) -> PictureInfo:
    """A picture whose every pixel decodes, and what happens to it on the way in."""
    info = readable(path, label)
    for note in info.notes:
        tell(f"{label}: {note}")
    return info


def _other_content(path: Path, shown: View, tell: Callable[[str], object]) -> tuple[PictureInfo, View]:
    """A content of the shape of the picture, or of what it shows of its own content; all of it is used."""
    content = _told(path, "content", tell)
    if not any(_has_shape(content.size, size) for size in (shown.canvas, shown.place.size)):
        raise JobError(
            f"content: {path} must have the shape of the picture, {shown.canvas}, got {content.size}; cut it"
        )
    whole = Box.of(content.size)
    if nearer(content.size, shown.place.size, shown.canvas):
        return content, replace(shown, crop=whole)
    return content, View.filling(whole, shown.canvas)


def _has_shape(content: Size, size: Size) -> bool:
    """To a pixel of the size."""
    shape = content.fit_long_side(size.long_side)
    return max(abs(shape.width - size.width), abs(shape.height - size.height)) <= 1
