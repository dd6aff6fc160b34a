"""A run as it lies on the disk: its job, its pictures, and which of its levels can be shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from tilefarm.colouring import coloured
from tilefarm.errors import JobError
from tilefarm.files import checksum
from tilefarm.geometry import Size
from tilefarm.image.decode import PictureInfo, inspect, open_srgb, reading
from tilefarm.image.engine import quantised
from tilefarm.image.resize import shrink
from tilefarm.plan.build import LevelPlan, build_plan
from tilefarm.prepare import Prepared
from tilefarm.report.tables import effective_status
from tilefarm.rundir.inputs import check_job, differences
from tilefarm.rundir.journal import read_journal
from tilefarm.rundir.layout import RunDir, is_locked
from tilefarm.rundir.state import RunState
from tilefarm.rundir.summary import read_summary
from tilefarm.spec.load import load_job
from tilefarm.spec.model import Job
from tilefarm.viewer.records import SummarySeen, seen, strange_file


@dataclass(frozen=True)
class RunSource:
    """What a report is made of."""

    run: RunDir
    prepared: Prepared
    """The job with its pictures looked at, not decoded."""
    summary: dict[str, Any]
    """run.json."""
    state: RunState
    status: str
    """As `tilefarm status` says it."""
    changed: tuple[str, ...]
    """What is not as the run was started with, each as a clause."""

    @property
    def job(self) -> Job:
        """The resolved job."""
        return self.prepared.job

    @property
    def levels(self) -> tuple[LevelPlan, ...]:
        """All levels, coarse to fine."""
        return self.prepared.plan.levels

    def is_finished(self, level: LevelPlan) -> bool:
        """Whether all rounds of a level are on record."""
        return self.state.rounds_done(level.index) >= level.rounds

    def has_canvas(self, level: LevelPlan) -> bool:
        """Whether the canvas of a finished level is there and is the one on record. Reads all of it."""
        canvas = self.run.canvas(level.index)
        if not self.is_finished(level) or not canvas.is_file():
            return False
        return checksum(canvas) == self.state.canvas_crc(level.index)

    @contextmanager
    def canvas(self, level: LevelPlan) -> Iterator[Path]:
        """A level's canvas with the colours that the output has, as a raw file."""
        with coloured(self.prepared, self.run, level, self.job.color.of_result) as path:
            yield path

    @property
    def content_size(self) -> Size:
        """Of the content as it is shown: as on the finest level, but never larger than in its file."""
        crop, place = self.prepared.plan.crop.size, self.prepared.plan.view.place.size
        return Size(min(crop.width, place.width), min(crop.height, place.height))

    @contextmanager
    def content(self) -> Iterator[pyvips.Image]:
        """The part of the content that the result shows, 8 bits, of `content_size`; to be read once."""
        info, crop = self.prepared.content, self.prepared.plan.crop
        with reading(info):
            whole = open_srgb(info)
            part = whole.crop(crop.left, crop.top, crop.width, crop.height)
            yield quantised(shrink(part, self.content_size), 255)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run that has begun; a folder with a job file called job.yaml is none."""
    run = RunDir(folder)
    return run.exists() and (run.plan.is_file() or run.summary.is_file())


def open_run(run: RunDir) -> RunSource:
    """Read a run's folder. Raises JobError where it is none, has not begun, or its pictures have gone."""
    if not is_run(run.root):
        raise JobError(f"{run.root} is not the folder of a run; name a folder such as runs/NAME-HASH")
    if strange := strange_file(run):
        raise JobError(strange)
    check_job(run)
    job = load_job(run.job, kept=True)
    summary = read_summary(run)
    if summary is None:
        raise JobError(f"{run.root} has only just begun: it holds no run.json yet; try again later")
    if not seen(SummarySeen, summary):
        raise JobError(
            f"{run.summary} is damaged or from another version of tilefarm; "
            f"'tilefarm resume {run.root}' writes it anew"
        )
    content = _inspected(job, job.content, "content")
    styles = tuple(_inspected(job, style.image, "style") for style in job.styles)
    plan = build_plan(job, content.size, [style.size for style in styles])
    prepared = Prepared(job, content, styles, plan, ())
    state = RunState.replay(read_journal(run.journal))
    if state.started is not None:
        prepared = prepared.with_core(state.started.core)
    if _planned(run) != [level.size for level in plan.levels]:
        raise JobError(
            f"the sizes that {run.job} leads to are not those in {run.plan}: the content ({job.content}) is "
            "another picture than the run was started with; put that one back"
        )
    status = effective_status(summary, is_locked(run))
    return RunSource(run, prepared, summary, state, status, tuple(differences(run, job)))


def _inspected(job: Job, path: Path, label: str) -> PictureInfo:
    return inspect(path, label).on(job.alpha.rgb, job.alpha.background)


def _planned(run: RunDir) -> list[Size]:
    try:
        levels = json.loads(run.plan.read_text(encoding="utf-8"))["levels"]
        return [Size(level["width"], level["height"]) for level in levels]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise JobError(
            f"{run.plan} is missing or damaged; 'tilefarm resume {run.root}' writes it anew"
        ) from None
