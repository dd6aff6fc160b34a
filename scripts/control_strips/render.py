"""Rendering the panels with the program's own submission, and laying finished ones side by side."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from scripts.control_strips.panels import PHOTOGRAPH, WIDTH, Panel, Settings, Strip, job_of, name_of
from tilefarm.batch import Group, load_group
from tilefarm.commands.common import tell
from tilefarm.execute.open import ExecutorChoice
from tilefarm.recolor import Request, recolor
from tilefarm.report.arrange import Cell, Sheet
from tilefarm.report.sheet import draw_sheet
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job
from tilefarm.spec.yaml_writer import write_yaml
from tilefarm.submission import Manner, render_all

QUALITY = 85
"""Of the JPEGs."""


@dataclass(frozen=True)
class Workshop:
    """The folder where job files, run folders and finished panels are kept from call to call."""

    root: Path

    @property
    def jobs(self) -> Path:
        """The job files of this call."""
        return self.root / "jobs"

    @property
    def runs(self) -> Path:
        """The run folders."""
        return self.root / "runs"

    def output(self, name: str) -> Path:
        """The finished panel of a run."""
        return self.root / "out" / f"{name}.png"

    def small(self, picture: Path) -> Path:
        """A picture that is there, as wide as a panel."""
        target = self.root / "small" / f"{picture.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(picture) as image:
            size = (WIDTH, round(image.height * WIDTH / image.width))
            image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(target)
        return target


def render(wanted: Mapping[str, Settings], workshop: Workshop, again: bool) -> tuple[dict[str, RunDir], int]:
    """Render runs, as one submission of a folder of job files; the folders of those done, and the exit code.

    Runs that are done are not rendered again, those that were interrupted go on, unless `again`.
    """
    shutil.rmtree(workshop.jobs, ignore_errors=True)
    workshop.jobs.mkdir(parents=True)
    for name, settings in wanted.items():
        job = job_of(settings, workshop.output(name))
        (workshop.jobs / f"{name}.yaml").write_text(write_yaml(job), encoding="utf-8")
        if again:
            for old in workshop.runs.glob(f"{name}-????????"):
                shutil.rmtree(old)

    def load(path: Path) -> Group:
        return load_group(path, (), workshop.runs)

    records, code = render_all([workshop.jobs], load, ExecutorChoice("local"), tell, Manner())
    done = (record for record in records if record["status"] == "done")
    return {Path(record["job"]).stem: RunDir(Path(record["run"])) for record in done}, code


def render_sweep(name: str, settings: Settings, workshop: Workshop) -> tuple[Path | None, int]:
    """Render a job with a matrix; its contact sheet, and the exit code."""
    path = workshop.root / f"{name}.yaml"
    path.write_text(write_yaml(job_of(settings, workshop.output("{name}"))), encoding="utf-8")
    records, code = render_all(
        [path], lambda one: load_group(one, (), workshop.runs), ExecutorChoice("local"), tell, Manner()
    )
    return (Path(records[0]["sheet"]) if records[0].get("sheet") else None), code


def draw(strip: Strip, runs: Mapping[str, Settings], workshop: Workshop, target: Path) -> bool:
    """Write a strip's JPEG from its panels; False where one is not finished."""
    pictures = [_picture(panel, runs, workshop) for panel in strip.panels]
    if not all(picture.exists() for picture in pictures):
        return False
    cells = [
        Cell(picture, "", (panel.caption,)) for picture, panel in zip(pictures, strip.panels, strict=True)
    ]
    draw_cells(strip.title, cells, workshop, target)
    return True


def draw_cells(title: str, cells: Sequence[Cell], workshop: Workshop, target: Path) -> None:
    """Write a JPEG of captioned pictures in one row."""
    page = workshop.root / "page.png"
    draw_sheet(Sheet(title, tuple(cells), len(cells)), page)
    as_jpeg(page, target)


def as_jpeg(picture: Path, target: Path, width: int | None = None) -> None:
    """Save a picture as JPEG, at most `width` pixels wide."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(picture) as image:
        shown = image.convert("RGB")
        if width is not None and image.width > width:
            shown = shown.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
        shown.save(target, quality=QUALITY, optimize=True)


def snapshots_of(run: RunDir, count: int) -> list[Path]:
    """So many snapshots of a run, evenly from the first to the last."""
    every = sorted(run.snapshots.glob("*.jpg"))
    return [every[round(number * (len(every) - 1) / (count - 1))] for number in range(count)]


def steps_of(snapshot: Path, run: RunDir) -> str:
    """The caption of a snapshot: its level and the steps there."""
    levels = load_job(run.job).pyramid.iterations
    _, level, _, step = snapshot.stem.split("-")
    return f"level {int(level) + 1} of {len(levels)}, step {int(step)} of {levels[int(level)]}"


def _picture(panel: Panel, runs: Mapping[str, Settings], workshop: Workshop) -> Path:
    if panel.picture is not None:
        return workshop.small(panel.picture)
    painted = workshop.output(name_of(panel.settings, runs))
    if panel.recolored is None or not painted.exists():
        return painted
    target = painted.with_name(f"{painted.stem}-{panel.recolored}.png")
    return recolor(Request(painted, target, panel.recolored, PHOTOGRAPH))
