"""`tilefarm report RUN`: a run as one folder that any browser opens, from disk or from a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tilefarm.errors import JobError
from tilefarm.making.losses import loss_table, read_losses
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.resolved import to_yaml
from tilefarm.viewer.report_folder import copy_assets, replacing_folder
from tilefarm.viewer.report_page import InputShown, report_page
from tilefarm.viewer.report_pictures import PICTURES, SIDE, TILES, Shown, write_pictures, write_small
from tilefarm.viewer.report_source import RunSource, open_run
from tilefarm.viewer.zoom_folder import write_small_copy

ASSETS = "assets"
PAGE = "index.html"
FILES = ("report.css", "report.js", "report_zoom.js")
"""The viewer's own files that a report needs."""


def write_report(run: RunDir, output: Path | None = None) -> Path:
    """Write a run's report into `output`, or into the folder `report` of the run; returns its page.

    Runs that are not done show what there is and say so. Raises JobError where the folder is no run or
    `output` holds something else than a report; ResourceError where the disk is full.
    """
    source = open_run(run)
    target = output or run.root / "report"
    with replacing_folder(target) as folder:
        copy_assets(folder / ASSETS, *FILES)
        fill_report(source, folder, f"{ASSETS}/")
    return target / PAGE


def fill_report(source: RunSource, folder: Path, assets: str, gallery: str = "") -> Shown:
    """Write a report's page and pictures into an empty folder; `assets` lie somewhere already."""
    losses = read_losses(source.run)
    shown = write_pictures(source, folder)
    inputs = list(_inputs(source, shown, folder))
    (folder / "losses.csv").write_text(loss_table(losses), encoding="utf-8")
    (folder / "job.yaml").write_text(to_yaml(source.job), encoding="utf-8")
    (folder / PAGE).write_bytes(report_page(source, shown, inputs, losses, assets, gallery))
    return shown


def _inputs(source: RunSource, shown: Shown, folder: Path) -> Iterator[InputShown]:
    """The content, the styles with their masks."""
    job = source.job
    yield _content(source, shown, folder)
    for number, style in enumerate(job.styles, start=1):
        title = f"Style {number}" if len(job.styles) > 1 else "The style"
        facts = (("Weight", f"{style.weight:g}"), ("Scale", f"{style.scale:g}"))
        yield _input(folder, f"style-{number}", title, style.image, facts)
        for key, what in (("mask", "where it acts"), ("style_mask", "what of it counts")):
            if (path := getattr(style, key)) is not None:
                yield _input(folder, f"style-{number}-{key}", f"{title}: {what}", path)
    if isinstance(job.init, Path):
        yield _input(folder, "init", "The start", job.init)


def _content(source: RunSource, shown: Shown, folder: Path) -> InputShown:
    """The whole photograph; where all of it is shown, its tiles spare decoding it again."""
    title, path, plan = "The photograph", source.job.content, source.prepared.plan
    if shown.content is None or plan.crop.size != plan.content:
        return _input(folder, "content", title, path)
    picture = f"{PICTURES}/content.jpg"
    size = write_small_copy(shown.content, folder / TILES, folder / picture, SIDE)
    return InputShown(title, str(path), picture, size)


def _input(
    folder: Path, name: str, title: str, path: Path, facts: tuple[tuple[str, str], ...] = ()
) -> InputShown:
    picture = f"{PICTURES}/{name}.jpg"
    try:
        size = write_small(path, title, folder / picture)
    except JobError:
        return InputShown(title, str(path), None, None, facts)
    return InputShown(title, str(path), picture, size, facts)
