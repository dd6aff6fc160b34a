"""What a strip is made of, and the job that every panel is a variation of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PHOTOGRAPH = ROOT / "jobs" / "coffee.jpg"
PAINTING = ROOT / "jobs" / "strokes.jpg"
WIDTH = 200
"""Pixels of a panel."""

Settings = Mapping[str, Any]
"""Keys of a job, as its file has them."""


@dataclass(frozen=True)
class Panel:
    """One picture of a strip: a run of the default job with other settings, or a picture that is there."""

    caption: str
    settings: Settings = field(default_factory=dict)
    recolored: str | None = None
    """The mode by which the finished run gets other colours."""
    picture: Path | None = None
    """Shown as it is; then nothing is rendered."""


@dataclass(frozen=True)
class Strip:
    """What one control does."""

    name: str
    """Of its file, docs/controls/NAME.jpg."""
    title: str
    panels: tuple[Panel, ...]


def run_names(strips: Sequence[Strip]) -> dict[str, Settings]:
    """Names and settings of all runs that the strips show; panels of equal settings share one."""
    runs: dict[str, Settings] = {}
    for strip in strips:
        for panel in strip.panels:
            if panel.picture is None and panel.settings not in runs.values():
                name = f"{strip.name}-{strip.panels.index(panel)}" if panel.settings else "default"
                runs[name] = panel.settings
    return runs


def name_of(settings: Settings, runs: Mapping[str, Settings]) -> str:
    """The run with these settings."""
    return next(name for name, own in runs.items() if own == settings)


def job_of(settings: Settings, output: Path) -> dict[str, Any]:
    """The default job with other settings: small, of two levels, in bfloat16 so that machines agree."""
    job: dict[str, Any] = {
        "content": str(PHOTOGRAPH),
        "style": str(PAINTING),
        "output": {"path": str(output), "width": WIDTH},
        "pyramid": {"smallest": WIDTH // 2, "iterations": [40, 20]},
        "compute": {"precision": "bfloat16", "workers": 1},
    }
    if "styles" in settings:
        del job["style"]
    for key, value in settings.items():
        both = isinstance(value, Mapping) and isinstance(job.get(key), Mapping)
        job[key] = {**job[key], **value} if both else value
    return job
