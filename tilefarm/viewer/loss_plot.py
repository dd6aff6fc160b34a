"""How the losses fell, as SVG: a small panel for each level, all with the same logarithmic axis.

Panels of their own wrap on a narrow screen and stay readable there, where one wide plot would shrink.
Colours come from the page's style sheet, so that they follow its dark mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from tilefarm.making.chart import Axes, axes_of, step_ticks, ticks
from tilefarm.making.losses import TERMS, LevelLosses, LossPoint

WIDTH, HEIGHT = 320, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 8, 24
_MOST_POINTS = 400
"""Of a line; more are thinned out, which nobody sees at this width."""
_MOST_ROWS = 12
"""Of the table, per level."""
NAMES = {"total": "total", "style": "style", "content": "content", "tv": "total variation"}


def loss_panels(levels: Sequence[LevelLosses]) -> list[str]:
    """An `<svg>` for each level with losses, coarse to fine."""
    axes = axes_of(levels)
    return [_panel(axes, level) for level in levels if level.points]


def known_terms(levels: Sequence[LevelLosses]) -> list[str]:
    """The lines that there are: total, and the terms that are anywhere known and not 0."""
    points = [point for level in levels for point in level.points]
    return ["total", *(term for term in TERMS if any(getattr(point, term) for point in points))]


def loss_rows(levels: Sequence[LevelLosses]) -> Iterator[tuple[str, ...]]:
    """Some points of each level, evenly chosen, the first and the last among them: for a table."""
    for level in levels:
        for point in _thinned(level.points, _MOST_ROWS):
            values = (getattr(point, term) for term in NAMES)
            yield (
                f"{level.level}",
                str(point.step),
                *("" if value is None else f"{value:.4g}" for value in values),
            )


def _panel(axes: Axes, level: LevelLosses) -> str:
    first, last = level.points[0], level.points[-1]
    label = (
        f"Level {level.level}, {level.width} by {level.height} pixels: the loss fell from {first.total:.4g} "
        f"to {last.total:.4g} in {last.step} steps"
    )
    svg = ElementTree.Element(
        "svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", attrib={"aria-label": label}
    )
    _axes(svg, axes, level)
    _range(svg, axes, level)
    for term in (*TERMS, "total"):
        points = [
            f"{_x(level, point.step):.1f},{_y(axes, value):.1f}"
            for point in _thinned(level.points, _MOST_POINTS)
            if (value := getattr(point, term)) is not None and value > 0
        ]
        if len(points) == 1:
            x, y = points[0].split(",")
            ElementTree.SubElement(svg, "circle", cx=x, cy=y, r="3", attrib={"class": f"dot {term}"})
        elif points:
            ElementTree.SubElement(svg, "polyline", points=" ".join(points), attrib={"class": f"line {term}"})
    return ElementTree.tostring(svg, encoding="unicode")


def _axes(svg: ElementTree.Element, axes: Axes, level: LevelLosses) -> None:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    for loss, labelled in ticks(axes):
        y = _y(axes, loss)
        if labelled:
            _line(svg, _LEFT, y, right, y, "grid")
            _text(svg, _LEFT - 6, y + 4, f"{loss:g}", "end")
    for step in step_ticks(level.steps, WIDTH * 1.0):
        x = _x(level, step)
        _line(svg, x, bottom, x, bottom + 4, "tick")
        _text(svg, x, HEIGHT - 6, str(step), "start" if step == 0 else "end" if x > right - 8 else "middle")
    _line(svg, _LEFT, bottom, right, bottom, "axis")


def _range(svg: ElementTree.Element, axes: Axes, level: LevelLosses) -> None:
    """The band between the lowest and the highest tile, where a level has several."""
    band = [point for point in level.points if point.lowest is not None and point.highest is not None]
    sides = [
        f"{_x(level, point.step):.1f},{_y(axes, getattr(point, side)):.1f}"
        for side, points in (("highest", band), ("lowest", band[::-1]))
        for point in points
    ]
    if sides:
        ElementTree.SubElement(svg, "polygon", points=" ".join(sides), attrib={"class": "range"})


def _line(svg: ElementTree.Element, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
    places = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    ElementTree.SubElement(svg, "line", {**places, "class": kind})


def _text(svg: ElementTree.Element, x: float, y: float, text: str, anchor: str) -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    ElementTree.SubElement(svg, "text", place).text = text


def _x(level: LevelLosses, step: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * step / max(1, level.steps)


def _y(axes: Axes, loss: float) -> float:
    """In this panel; losses at or below 0 are at its bottom."""
    if loss <= 0:
        return HEIGHT - _BOTTOM
    top, bottom = axes.y(axes.high), axes.y(axes.low)
    share = (axes.y(loss) - top) / (bottom - top)
    return _TOP + share * (HEIGHT - _TOP - _BOTTOM)


def _thinned(points: Sequence[LossPoint], most: int) -> list[LossPoint]:
    """At most `most` points, evenly chosen, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]
