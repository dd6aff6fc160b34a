"""The plot of the losses: one panel per level, coarse to fine, on one logarithmic axis.

Pillow draws it: it is there anyway, smooths lines when they are drawn larger and shrunk, and brings its own
font, where an SVG's text needs fonts on the system, which servers and containers often lack.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from tilefarm.making.losses import TERMS, LevelLosses, LossPoint

SIZE = (1600, 900)
_SCALE = 2
"""Drawn so many times larger and shrunk, which smooths the lines."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 120, 30, 150, 110
_GAP = 14
_INK, _GREY, _GRID, _PAPER = (30, 30, 30), (110, 110, 110), (225, 225, 225), (255, 255, 255)
_COLOURS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (70, 160, 60), (190, 140, 0))
"""From coarse to fine, after the viridis map; its end is darkened to show on white."""
_DASHES = {"total": (), "style": (14, 7), "content": (3, 6), "tv": (14, 5, 3, 5)}
_NAMES = {"total": "total", "style": "style", "content": "content", "tv": "total variation"}
_DEEPEST = 1e-4
"""Terms below this share of the smallest total are left out of the axis' range."""

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Axes:
    """From a level's step and a loss to pixels of the plot."""

    panels: int
    steps: tuple[int, ...]
    """Per panel, where its axis ends."""
    low: float
    high: float
    """Losses at the bottom and the top."""

    def left(self, panel: int) -> float:
        """Where a panel begins."""
        return _LEFT + panel * (self.width + _GAP)

    @property
    def width(self) -> float:
        """Of a panel."""
        return (SIZE[0] - _LEFT - _RIGHT - (self.panels - 1) * _GAP) / self.panels

    @property
    def bottom(self) -> float:
        """Where all panels end."""
        return SIZE[1] - _BOTTOM

    def x(self, panel: int, step: float) -> float:
        """The column of a step."""
        return self.left(panel) + self.width * step / max(1, self.steps[panel])

    def y(self, loss: float) -> float:
        """The row of a loss above 0; rows outside the panel are clipped to its border."""
        share = math.log(loss / self.low) / math.log(self.high / self.low)
        return self.bottom - (self.bottom - _TOP) * min(1.0, max(0.0, share))


def axes_of(levels: Sequence[LevelLosses]) -> Axes:
    """Axes that hold all totals, and the terms that are not next to nothing, with some air."""
    points = [point for level in levels for point in level.points]
    totals = [value for p in points for value in (p.total, p.lowest, p.highest) if value and value > 0]
    floor = min(totals, default=1.0) * _DEEPEST
    shares = [value for p in points for term in TERMS if (value := getattr(p, term)) and value > floor]
    values = totals + shares
    low, high = min(values, default=1.0), max(values, default=10.0)
    return Axes(len(levels), tuple(level.steps for level in levels), low / 1.15, high * 1.15)


def colour_of(level: int, levels: int) -> Colour:
    """The colour of a level, counted from 0."""
    place = (len(_COLOURS) - 1) * (level / max(1, levels - 1))
    low = min(int(place), len(_COLOURS) - 2)
    share = place - low
    red, green, blue = (
        round((1 - share) * a + share * b) for a, b in zip(_COLOURS[low], _COLOURS[low + 1], strict=True)
    )
    return red, green, blue


def draw_losses(title: str, levels: Sequence[LevelLosses]) -> Image.Image:
    """The plot, 1600x900 pixels, RGB."""
    axes = axes_of(levels)
    image = Image.new("RGB", (SIZE[0] * _SCALE, SIZE[1] * _SCALE), _PAPER)
    pen = _Pen(ImageDraw.Draw(image))
    pen.text((_LEFT, 24), f"Losses of {title}", 28, _INK, "la")
    _legend(pen, levels)
    for panel, level in enumerate(levels):
        _frame(pen, axes, panel, level, colour_of(panel, len(levels)))
    _loss_axis(pen, axes)
    for panel, level in enumerate(levels):
        _curves(pen, axes, panel, level, colour_of(panel, len(levels)))
    middle = (_LEFT + SIZE[0] - _RIGHT) / 2
    pen.text((middle, SIZE[1] - 40), "optimizer steps at each level, coarse to fine", 20, _INK, "mm")
    label = Image.new("RGB", (400 * _SCALE, 30 * _SCALE), _PAPER)
    _Pen(ImageDraw.Draw(label)).text((200, 15), "weighted loss, logarithmic", 20, _INK, "mm")
    turned = label.rotate(90, expand=True)
    image.paste(turned, (10 * _SCALE, round((_TOP + axes.bottom) / 2 - 200) * _SCALE))
    return image.resize(SIZE, Image.Resampling.LANCZOS)


class _Pen:
    """Draws in the plot's pixels on the larger picture."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw

    def text(self, at: Point, text: str, size: int, colour: Colour, anchor: str) -> None:
        font = ImageFont.load_default(size * _SCALE)
        self._draw.text((at[0] * _SCALE, at[1] * _SCALE), text, fill=colour, font=font, anchor=anchor)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        larger = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(larger, fill=colour, width=round(width * _SCALE), joint="curve")

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill=colour)

    def dot(self, at: Point, colour: Colour) -> None:
        self._draw.circle((at[0] * _SCALE, at[1] * _SCALE), 3 * _SCALE, fill=colour)


def _legend(pen: _Pen, levels: Sequence[LevelLosses]) -> None:
    points = [point for level in levels for point in level.points]
    shown = ["total", *(term for term in ("style", "content", "tv") if any(getattr(p, term) for p in points))]
    x = float(_LEFT)
    for term in shown:
        _dashed(pen, [(x, 84), (x + 56, 84)], _DASHES[term], _INK, 3 if term == "total" else 2)
        pen.text((x + 66, 84), _NAMES[term], 20, _INK, "lm")
        x += 66 + 12 * len(_NAMES[term]) + 40
    if any(point.lowest is not None for point in points):
        pen.polygon([(x, 76), (x + 56, 76), (x + 56, 92), (x, 92)], _pale(_GREY))
        pen.text((x + 66, 84), "range over the tiles (lines: their median)", 20, _INK, "lm")


def _frame(pen: _Pen, axes: Axes, panel: int, level: LevelLosses, colour: Colour) -> None:
    left, right = axes.left(panel), axes.left(panel) + axes.width
    for loss, _ in ticks(axes):
        pen.line([(left, axes.y(loss)), (right, axes.y(loss))], _GRID, 1)
    corners = [(left, _TOP), (right, _TOP), (right, axes.bottom), (left, axes.bottom), (left, _TOP)]
    pen.line(corners, _GREY, 1)
    roomy = axes.width >= 100
    pen.text(
        (left + axes.width / 2, _TOP - 26), f"{level.width}x{level.height}", 18 if roomy else 12, colour, "mb"
    )
    pen.text((left + axes.width / 2, _TOP - 6), f"level {level.level}", 16 if roomy else 12, _GREY, "mb")
    for step in step_ticks(level.steps, axes.width):
        x = axes.x(panel, step)
        pen.line([(x, axes.bottom), (x, axes.bottom + 6)], _GREY, 1)
        anchor = "la" if step == 0 else "ra" if x > right - 10 else "ma"  # labels of neighbours do not meet
        pen.text((x, axes.bottom + 12), str(step), 16, _INK, anchor)


def _loss_axis(pen: _Pen, axes: Axes) -> None:
    for loss, labelled in ticks(axes):
        if labelled:
            pen.line([(_LEFT - 6, axes.y(loss)), (_LEFT, axes.y(loss))], _GREY, 1)
            pen.text((_LEFT - 12, axes.y(loss)), f"{loss:g}", 18, _INK, "rm")


def ticks(axes: Axes) -> Iterator[tuple[float, bool]]:
    """Losses with a line across the panels, and whether they are labelled."""
    decades = math.log10(axes.high / axes.low)
    digits = range(1, 10) if decades < 0.5 else (1, 2, 5) if decades < 4 else (1,)
    for power in range(math.floor(math.log10(axes.low)), math.ceil(math.log10(axes.high)) + 1):
        for digit in range(1, 10):
            loss = digit * 10.0**power
            if axes.low <= loss <= axes.high:
                yield loss, digit in digits


def step_ticks(steps: int, width: float) -> list[int]:
    """0 and round numbers, about 80 pixels apart; the end alone where there is no room."""
    most = max(1, int(width / 80))
    for unit in (digit * 10**power for power in range(7) for digit in (1, 2, 5)):
        if steps / unit <= most:
            return list(range(0, steps + 1, unit))
    return [0]


def _curves(pen: _Pen, axes: Axes, panel: int, level: LevelLosses, colour: Colour) -> None:
    band = [p for p in level.points if p.lowest is not None and p.highest is not None]
    if band:
        above = [(axes.x(panel, p.step), axes.y(_positive(p.highest, axes))) for p in band]
        below = [(axes.x(panel, p.step), axes.y(_positive(p.lowest, axes))) for p in band]
        pen.polygon([*above, *reversed(below)], _pale(colour))
    for term in (*TERMS, "total"):
        points = list(_line(axes, panel, level.points, term))
        if len(points) == 1:
            pen.dot(points[0], colour)
        elif points:
            _dashed(pen, points, _DASHES[term], colour, 3 if term == "total" else 2)


def _line(axes: Axes, panel: int, points: Sequence[LossPoint], term: str) -> Iterator[Point]:
    for point in points:
        value = getattr(point, term)
        if value is not None and value > 0:
            yield axes.x(panel, point.step), axes.y(value)


def _positive(value: float | None, axes: Axes) -> float:
    return value if value is not None and value > 0 else axes.low


def _pale(colour: Colour) -> Colour:
    red, green, blue = (round(255 - (255 - part) * 0.25) for part in colour)
    return red, green, blue


def _dashed(pen: _Pen, points: Sequence[Point], dashes: Sequence[int], colour: Colour, width: float) -> None:
    """A line through points; `dashes` are lengths of ink and of gaps in turn, none for a whole line."""
    if not dashes:
        pen.line(points, colour, width)
        return
    turn, left = 0, float(dashes[0])
    for (x0, y0), (x1, y1) in pairwise(points):
        length, done = math.hypot(x1 - x0, y1 - y0), 0.0
        while done < length:
            part = min(left, length - done)
            a, b = done / length, (done + part) / length
            if turn % 2 == 0:
                ends = [(x0 + (x1 - x0) * share, y0 + (y1 - y0) * share) for share in (a, b)]
                pen.line(ends, colour, width)
            done, left = done + part, left - part
            if left <= 1e-9:
                turn = (turn + 1) % len(dashes)
                left = float(dashes[turn])
