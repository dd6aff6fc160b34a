"""The page of one report: what the run's records say as HTML, and the data of its viewers."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tilefarm.geometry import Size
from tilefarm.making.losses import LevelLosses
from tilefarm.report.console import counted
from tilefarm.viewer.loss_plot import NAMES, known_terms, loss_panels, loss_rows
from tilefarm.viewer.markup import embedded, notices, page, table, terms, text
from tilefarm.viewer.report_facts import (
    fault_rows,
    happenings,
    level_rows,
    memory_rows,
    overview,
    print_rows,
)
from tilefarm.viewer.report_pictures import TILES, LevelShown, Shown
from tilefarm.viewer.report_source import RunSource
from tilefarm.viewer.settings_list import Setting, settings_of


@dataclass(frozen=True)
class InputShown:
    """A picture that the run was made of."""

    title: str
    path: str
    picture: str | None
    """Of the small copy, relative to the page; None where it could not be made."""
    size: Size | None
    """Of the small copy."""
    facts: tuple[tuple[str, str], ...] = ()


def report_page(
    source: RunSource,
    shown: Shown,
    inputs: Sequence[InputShown],
    losses: Sequence[LevelLosses],
    assets: str,
    gallery: str = "",
) -> bytes:
    """The page, UTF-8. `assets` and `gallery` are addresses relative to it; no gallery: no link to one."""
    told = happenings(source.run)
    settings = settings_of(source.job)
    back = f'<p class="back"><a href="{escape(gallery)}">All runs</a></p>' if gallery else ""
    return page(
        "report.html",
        assets=assets,
        title=escape(source.job.name),
        name=text(source.job.name),
        back=back,
        summary=_summary(source),
        notices=notices((*_warnings(source, shown), *shown.notes)),
        viewer="" if shown.result is not None else " hidden",
        levels="".join(_level(one) for one in shown.levels),
        inputs="".join(_input(one) for one in inputs),
        overview=terms(overview(source, told)),
        losses=_losses(losses),
        times=table(
            ("Level", "Pixels", "Tiles", "Steps", "First loss", "Last loss", "Time"),
            level_rows(source),
            "Levels, coarse to fine",
            numbers=6,
        ),
        faults=terms(fault_rows(source.summary, told)) + notices(told.notes),
        paper=terms(print_rows(source)),
        memory=terms(memory_rows(source.summary)),
        versions=terms((name, str(version)) for name, version in source.summary["versions"].items()),
        changed=_changed(settings),
        settings=_all_settings(settings),
        command=escape(_command(source)),
        data=embedded(_data(source, shown)),
    )


def _data(source: RunSource, shown: Shown) -> dict[str, Any]:
    """What the viewers need."""
    prefix = f"{TILES}/"
    result = shown.result.zoom if shown.result is not None else None
    return {
        "result": result.record(prefix) if result else None,
        "content": shown.content.record(prefix) | _place(source) if shown.content else None,
        "levels": [
            {"level": one.level.index + 1, "zoom": one.zoom.record(prefix)}
            for one in shown.levels
            if one.zoom is not None
        ],
    }


def _place(source: RunSource) -> dict[str, float]:
    """Where the content lies on the picture, which goes on mirrored around it: shares of its width."""
    view = source.prepared.plan.view
    left, top, across = view.place.left, view.place.top, view.place.width
    return {
        "x": left / view.canvas.width,
        "y": top / view.canvas.width,
        "across": across / view.canvas.width,
    }


def _summary(source: RunSource) -> str:
    styles = " and ".join(text(style.image.name) for style in source.job.styles)
    size = source.prepared.plan.output
    return f"{text(source.job.content.name)} in the style of {styles}, {size.width} × {size.height} pixels"


def _warnings(source: RunSource, shown: Shown) -> Iterator[str]:
    """What a reader must not overlook."""
    if source.status != "done":
        done = sum(source.is_finished(level) for level in source.levels)
        message = source.summary.get("message")
        said = f" ({message})" if message and source.status != "running" else ""
        what = (
            "the picture shown is that of the last one" if shown.result else "there is no picture to show yet"
        )
        yield (
            f"This run is not done, it is {source.status}{said}: {done} of "
            f"{counted(len(source.levels), 'level')} finished; {what}. "
            f"Go on with: tilefarm resume {shlex.quote(str(source.run.root))}"
        )
    elif shown.result is None:
        yield "No canvas of this run is there any more, or whole: its picture cannot be shown in full size."
    elif shown.result.level.index < len(source.levels) - 1:
        level = shown.result.level.index + 1
        yield f"The finest canvas is gone or damaged: the picture shown is that of level {level}."
    for clause in source.changed:
        yield f"Since the run was started, something has changed: {clause}."


def _level(shown: LevelShown) -> str:
    number, size = shown.level.index + 1, shown.level.size
    note = f" <small>({text(shown.note)})</small>" if shown.note else ""
    stage = f'<div class="small-stage" id="level-{number}"></div>' if shown.zoom is not None else ""
    return (
        f'<li><h3>Level {number}<span class="of">{size.width} × {size.height}</span></h3>{stage}'
        f"{f'<p>{note}</p>' if note else ''}</li>"
    )


def _input(one: InputShown) -> str:
    picture = '<p class="missing">cannot be read any more</p>'
    if one.picture is not None and one.size is not None:
        picture = (
            f'<img src="{escape(one.picture)}" width="{one.size.width}" height="{one.size.height}" '
            f'alt="{escape(one.title)}" loading="lazy">'
        )
    return (
        f"<li><figure>{picture}<figcaption><strong>{text(one.title)}</strong> "
        f'<span class="path">{text(one.path)}</span>{terms(one.facts) if one.facts else ""}'
        "</figcaption></figure></li>"
    )


def _losses(levels: Sequence[LevelLosses]) -> str:
    """Panels with a legend, and the same as a table."""
    panels = loss_panels(levels)
    if not panels:
        return "<p>No step of this run is finished yet.</p>"
    drawn = [level for level in levels if level.points]
    figures = "".join(
        f'<li><h3>Level {level.level}<span class="of">{level.width} × {level.height}</span></h3>{panel}</li>'
        for level, panel in zip(drawn, panels, strict=True)
    )
    legend = "".join(
        f'<li><svg viewBox="0 0 40 10" aria-hidden="true"><line class="line {term}" x1="1" y1="5" x2="39" '
        f'y2="5"/></svg>{NAMES[term]}</li>'
        for term in known_terms(levels)
    )
    numbers = table(
        ("Level", "Step", *(name.capitalize() for name in NAMES.values())),
        loss_rows(levels),
        "Weighted losses at some steps",
        numbers=5,
    )
    return (
        f'<ul class="legend">{legend}</ul><ol class="panels">{figures}</ol>'
        '<p class="hint">Across: optimizer steps. Up: the weighted loss, on one logarithmic axis for all '
        "levels; of a level in tiles the median over the tiles, with their range.</p>"
        f"<details><summary>The numbers</summary>{numbers}"
        '<p><a href="losses.csv">All of them: losses.csv</a></p></details>'
    )


def _changed(settings: Sequence[Setting]) -> str:
    rows = [(one.key, one.value, one.default or "") for one in settings if one.is_changed]
    if not rows:
        return "<p>Everything is at its default.</p>"
    return table(("Key", "Value", "Default"), rows, f"{counted(len(rows), 'setting')} of its own")


def _all_settings(settings: Sequence[Setting]) -> str:
    sections = Counter(one.key.partition(".")[0] for one in settings)
    rows = [(one.key, one.value, "changed" if one.is_changed else "") for one in settings]
    caption = f"All {len(rows)} settings, in {counted(len(sections), 'section')}"
    return table(("Key", "Value", ""), rows, caption)


def _command(source: RunSource) -> str:
    """Renders the same picture again, beside what there is."""
    job, runs = shlex.quote(str(source.run.job)), shlex.quote(str(source.run.root.parent))
    return f"tilefarm submit {job} --run-dir {runs} --fresh"
