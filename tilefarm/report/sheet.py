"""Drawing a contact sheet: every run's picture, small, in a grid with headings or captions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from tilefarm.errors import JobError
from tilefarm.files import replacing, telling_when_full
from tilefarm.geometry import Size
from tilefarm.image.colour import srgb_profile
from tilefarm.image.decode import PictureInfo, inspect
from tilefarm.image.thumbnail import fitted, thumbnail
from tilefarm.report.arrange import Cell, Sheet
from tilefarm.report.lettering import Lettering

PAPER = (255, 255, 255)
EMPTY = (226, 226, 226)
"""Where a picture is missing."""
_CROSS = (190, 190, 190)
_GAP = 12
_LARGEST_CELL, _SMALLEST_CELL = 512, 128
_MOST_PIXELS = 20_000_000
"""Of all cells together, which are in memory at once: 60 MB."""
_MOST_LINES = 6
"""Of a caption or a heading; more is cut."""
_SHAPE_OF_NOTHING = Size(4, 3)


@dataclass(frozen=True)
class Layout:
    """Where everything is, in pixels."""

    cell: Size
    columns: int
    rows: int
    left: int
    """Width of the rows' headings."""
    top: int
    """Height of the title and the columns' headings."""
    captions: tuple[int, ...]
    """Per row the height of the captions under it."""

    @property
    def size(self) -> Size:
        """Of the whole sheet."""
        width = self.left + self.columns * (self.cell.width + _GAP) + _GAP
        return Size(width, self.top + self.rows * (self.cell.height + _GAP) + sum(self.captions) + _GAP)

    def corner(self, index: int) -> tuple[int, int]:
        """The left upper corner of a cell."""
        row, column = divmod(index, self.columns)
        x = self.left + _GAP + column * (self.cell.width + _GAP)
        return x, self.top + row * (self.cell.height + _GAP) + sum(self.captions[:row])


def draw_sheet(sheet: Sheet, target: Path) -> Layout:
    """Write the sheet as a PNG with an sRGB profile, durably replaced; returns where its cells are.

    A picture that cannot be read is marked as missing. Raises ResourceError where the disk is full.
    """
    side = _side(len(sheet.cells))
    pictures = [_inspected(cell) for cell in sheet.cells]
    cell_size = _cell_size(pictures, side)
    lettering = Lettering(max(13, min(20, cell_size.width // 16)))
    layout = _layout(sheet, cell_size, lettering)
    page = Image.new("RGB", (layout.size.width, layout.size.height), PAPER)
    pen = ImageDraw.Draw(page)
    _headings(sheet, layout, lettering, pen)
    for index, (cell, picture) in enumerate(zip(sheet.cells, pictures, strict=True)):
        x, y = layout.corner(index)
        note = cell.note or "unreadable"
        if picture is None or not _paste(page, picture, layout.cell, x, y):
            _mark_missing(pen, lettering, note, layout.cell, x, y)
        lines = _caption(cell, layout.cell, lettering)
        lettering.draw(pen, lines, x, y + layout.cell.height + _GAP // 2, layout.cell.width)
    target.parent.mkdir(parents=True, exist_ok=True)
    with telling_when_full(target), replacing(target) as temporary:
        page.save(temporary, format="PNG", icc_profile=srgb_profile())
    return layout


def _side(count: int) -> int:
    """The long side of a cell: large for a few, smaller for many."""
    return max(_SMALLEST_CELL, min(_LARGEST_CELL, math.isqrt(_MOST_PIXELS // max(1, count))))


def _inspected(cell: Cell) -> PictureInfo | None:
    if cell.picture is None:
        return None
    try:
        return inspect(cell.picture, "contact sheet")
    except JobError:
        return None


def _cell_size(pictures: list[PictureInfo | None], side: int) -> Size:
    """As wide as the widest small picture and as high as the highest, and wide enough for a few words."""
    shapes = [fitted(picture.size, side) for picture in pictures if picture is not None]
    shapes = shapes or [_SHAPE_OF_NOTHING.fit_long_side(side)]
    return Size(
        max(_SMALLEST_CELL, *(shape.width for shape in shapes)), max(shape.height for shape in shapes)
    )


def _layout(sheet: Sheet, cell: Size, lettering: Lettering) -> Layout:
    rows = math.ceil(len(sheet.cells) / sheet.columns)
    counts = [len(_caption(one, cell, lettering)) for one in sheet.cells]
    most = [max(counts[row * sheet.columns : (row + 1) * sheet.columns]) for row in range(rows)]
    captions = [lettering.height(lines) + _GAP if lines else 0 for lines in most]
    heading = max((len(_heading(text, cell, lettering)) for text in sheet.column_headings), default=0)
    return Layout(
        cell=cell,
        columns=sheet.columns,
        rows=rows,
        left=_heading_width(cell) + _GAP if sheet.row_headings else 0,
        top=_GAP + round(lettering.line_height * 1.5) + lettering.height(heading) + _GAP,
        captions=tuple(captions),
    )


def _headings(sheet: Sheet, layout: Layout, lettering: Lettering, pen: ImageDraw.ImageDraw) -> None:
    width = layout.size.width - 2 * _GAP
    lettering.draw(pen, lettering.wrapped(sheet.title, width, 1), _GAP, _GAP, width)
    for column, text in enumerate(sheet.column_headings):
        lines = _heading(text, layout.cell, lettering)
        x, y = layout.corner(column)
        lettering.draw(pen, lines, x, y - _GAP // 2 - lettering.height(len(lines)), layout.cell.width)
    for row, text in enumerate(sheet.row_headings):
        lines = lettering.wrapped(text, _heading_width(layout.cell), _MOST_LINES)
        _, y = layout.corner(row * sheet.columns)
        middle = y + max(0, (layout.cell.height - lettering.height(len(lines))) // 2)
        lettering.draw(pen, lines, _GAP, middle, _heading_width(layout.cell))


def _heading_width(cell: Size) -> int:
    return max(110, cell.width // 3)


def _heading(text: str, cell: Size, lettering: Lettering) -> list[str]:
    return lettering.wrapped(text, cell.width, _MOST_LINES)


def _caption(cell: Cell, size: Size, lettering: Lettering) -> list[str]:
    lines = [line for text in cell.captions for line in lettering.wrapped(text, size.width, _MOST_LINES)]
    return lines[: 2 * _MOST_LINES]


def _paste(page: Image.Image, picture: PictureInfo, cell: Size, x: int, y: int) -> bool:
    """Put a picture into the middle of its cell; False where it turns out to be damaged."""
    size = fitted(picture.size, cell.long_side)
    size = size if size.height <= cell.height and size.width <= cell.width else _within(size, cell)
    try:
        small = Image.fromarray(thumbnail(picture, size))
    except JobError:
        return False
    page.paste(small, (x + (cell.width - size.width) // 2, y + (cell.height - size.height) // 2))
    return True


def _within(size: Size, cell: Size) -> Size:
    """The size made smaller until it fits the cell, aspect kept."""
    factor = min(cell.width / size.width, cell.height / size.height)
    return Size(max(1, int(size.width * factor)), max(1, int(size.height * factor)))


def _mark_missing(
    pen: ImageDraw.ImageDraw, lettering: Lettering, note: str, cell: Size, x: int, y: int
) -> None:
    right, bottom = x + cell.width - 1, y + cell.height - 1
    pen.rectangle((x, y, right, bottom), EMPTY)
    pen.line((x, y, right, bottom), _CROSS, 2)
    pen.line((x, bottom, right, y), _CROSS, 2)
    lines = lettering.wrapped(note, cell.width, _MOST_LINES)
    middle = y + (cell.height - lettering.height(len(lines))) // 2
    lettering.draw(pen, lines, x, middle, cell.width)
