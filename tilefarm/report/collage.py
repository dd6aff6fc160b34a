"""Content, styles and result of runs side by side, for showing what was made of what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pyvips

from tilefarm.errors import JobError
from tilefarm.geometry import Box, Size
from tilefarm.image.decode import PictureInfo, inspect
from tilefarm.image.engine import raw_image, save_raw
from tilefarm.image.resize import write_content
from tilefarm.output.check_target import check_target
from tilefarm.output.write import write_output
from tilefarm.report.tables import effective_status
from tilefarm.rundir.layout import RunDir, is_locked
from tilefarm.rundir.summary import read_summary
from tilefarm.spec.file_form import FileForm
from tilefarm.spec.load import load_job
from tilefarm.spec.paper import DEFAULT_DPI
from tilefarm.spec.paths import OUTPUT_FORMATS, same_file

_WHITE = [1.0, 1.0, 1.0]


def write_collage(runs: Sequence[RunDir], output: Path | None, height: int) -> Path:
    """One row per run: content, styles, result, each `height` pixels high, with thin white gaps between them.

    The pictures are shown as a whole, upright and in sRGB. Everything is streamed through files beside the
    output. Returns the file that was written: `output`, or RUN-collage.png beside the first run. Raises
    JobError, with every problem, where a run is not done, a picture cannot be read, or the output cannot
    be written or is one of the pictures.
    """
    target = (output or runs[0].root.with_name(f"{runs[0].name}-collage.png")).absolute()
    kind = OUTPUT_FORMATS.get(target.suffix.lower())
    if kind is None:
        raise JobError(f"--output must end in {', '.join(OUTPUT_FORMATS)}, got '{target}'")
    rows = _all_pictures(runs)
    for picture in (one for row in rows for one in row):
        if same_file(picture.path, target):
            raise JobError(f"--output would overwrite {picture.label}, {picture.path}; choose another file")
    gap = max(2, height // 100)
    widths = [sum(_scaled(one, height).width + gap for one in row) - gap for row in rows]
    size = Size(max(widths), len(rows) * (height + gap) - gap)
    form = FileForm(kind, 8, DEFAULT_DPI, dither=True)
    check_target(target, form, size)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder, ExitStack() as opened:
        lines = [
            _row(row, height, gap, Path(folder) / str(number), opened) for number, row in enumerate(rows)
        ]
        whole = Path(folder) / "collage.f32"
        save_raw(_joined(lines, "vertical", gap), whole)
        write_output(whole, size, target, form)
    return target


def _all_pictures(runs: Sequence[RunDir]) -> list[list[PictureInfo]]:
    """Per run content, styles and result. Raises JobError with the problems of all runs."""
    rows: list[list[PictureInfo]] = []
    problems: list[str] = []
    for run in runs:
        try:
            rows.append(list(_pictures(run)))
        except JobError as error:
            problems += error.problems
    if problems:
        raise JobError(problems)
    return rows


def _pictures(run: RunDir) -> Iterator[PictureInfo]:
    record = read_summary(run) if run.exists() else None
    if record is None:
        raise JobError(f"{run.root} is not the folder of a run; name a folder such as runs/NAME-HASH")
    status = effective_status(record, is_locked(run))
    if status != "done":
        raise JobError(f"{run.root} is {status}, and a collage needs a run that is done; resume it first")
    job = load_job(run.job, kept=True)
    yield inspect(job.content, "the content")
    for style in job.styles:
        yield inspect(style.image, "a style")
    yield inspect(Path(record["output"]), "the result")


def _scaled(picture: PictureInfo, height: int) -> Size:
    return Size(max(1, round(picture.size.width * height / picture.size.height)), height)


def _row(
    pictures: Sequence[PictureInfo], height: int, gap: int, prefix: Path, opened: ExitStack
) -> pyvips.Image:
    images = []
    for number, picture in enumerate(pictures):
        path, size = prefix.with_name(f"{prefix.name}-{number}.f32"), _scaled(picture, height)
        write_content(picture, Box.of(picture.size), size, path)
        images.append(opened.enter_context(raw_image(path, size)))
    return _joined(images, "horizontal", gap)


def _joined(images: Sequence[pyvips.Image], direction: str, gap: int) -> pyvips.Image:
    """In one line; rows that are shorter are filled up with white."""
    first, *others = images
    for other in others:
        first = first.join(other, direction, expand=True, shim=gap, background=_WHITE)
    return first
