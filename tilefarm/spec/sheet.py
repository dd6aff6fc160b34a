"""How a content is laid out on its output: what of it is painted where, and where the sheet is cut."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tilefarm.errors import JobError
from tilefarm.geometry import Box, Size, View
from tilefarm.spec.paper import Print

RGB = tuple[float, float, float]

SAME_SHAPE = 0.005
"""Shapes whose aspects differ by less are the same: nobody sees half a percent of stretching, but a hairline
of margin would be seen."""
_WORDS = 2
"""Shapes are written as so many decimals to 1."""


@dataclass(frozen=True)
class Sheet:
    """A file and what a print shop does to it."""

    size: Size
    """Of the file in pixels, bleed included."""
    trim: Box
    """What is left when the bleed is cut off; the whole file where there is none."""
    picture: Box
    """Where the painted picture lies: the whole file, unless it has a margin of plain paper."""
    margin: RGB | None = None
    """The margin's colour, sRGB, 0..1; None where there is none."""

    @classmethod
    def plain(cls, size: Size) -> Sheet:
        """All of the file is picture, and nothing is cut off."""
        return cls(size, Box.of(size), Box.of(size))

    @property
    def bleed(self) -> tuple[int, int, int, int]:
        """Pixels that are cut off at the left, top, right and bottom."""
        return (
            self.trim.left,
            self.trim.top,
            self.size.width - self.trim.right,
            self.size.height - self.trim.bottom,
        )

    def around(self, picture: Size) -> Sheet:
        """The margin around the painted picture in another size, a level's; nothing is cut off."""
        x, y = picture.width / self.picture.width, picture.height / self.picture.height
        left, top = round(self.picture.left * x), round(self.picture.top * y)
        right = round((self.size.width - self.picture.right) * x)
        bottom = round((self.size.height - self.picture.bottom) * y)
        size = Size(left + picture.width + right, top + picture.height + bottom)
        place = Box(left, top, left + picture.width, top + picture.height)
        return Sheet(size, Box.of(size), place, self.margin)

    @property
    def solid(self) -> Sheet:
        """The same for the picture's alpha: a margin of paper is not clear."""
        return self if self.margin is None else replace(self, margin=(1.0, 1.0, 1.0))

    @property
    def key(self) -> str:
        """The sheet in one word for the journal; empty for a plain one."""
        if self == Sheet.plain(self.size):
            return ""
        boxes = (self.trim, self.picture)
        numbers = [f"{box.left},{box.top},{box.right},{box.bottom}" for box in boxes]
        return " ".join([str(self.size), *numbers, *(f"{value:.6f}" for value in self.margin or ())])


@dataclass(frozen=True)
class Target:
    """The picture to paint, the part of the content that it shows, and the file around it."""

    view: View
    """Of the content, after its orientation was applied, on the painted picture."""
    sheet: Sheet

    @property
    def size(self) -> Size:
        """Of the file."""
        return self.sheet.size

    @property
    def crop(self) -> Box:
        """The part of the content that is shown, in its pixels."""
        return self.view.crop


def whole(content: Size, size: Size) -> Target:
    """All of a content on all of a file."""
    return Target(View.filling(Box.of(content), size), Sheet.plain(size))


def lay_out(paper: Print, dpi: float, content: Size) -> Target:
    """A content of this size (after orientation) on a print.

    crop: the largest centred part with the shape of the file, bleed included, covers the file. exact: all of
    it covers the trimmed sheet. pad: all of it is as large as the trimmed sheet allows, and centred. What is
    left of the file is painted too, as the content's mirrored continuation, or stays plain paper, which is
    not painted. Raises JobError for `exact` and a content of another shape.
    """
    size, trimmed = paper.file_size(dpi), paper.trimmed_size(dpi)
    trim = _middle(trimmed, Box.of(size))
    if paper.fit == "crop":
        return Target(View.filling(centred(content, size), size), Sheet(size, trim, Box.of(size)))
    if paper.fit == "exact" and not same_shape(content, trimmed):
        raise JobError(_other_shape(paper, content, size, trimmed))
    shown = _middle(inside(content, trimmed), trim)
    if paper.margin is None:
        return Target(View(Box.of(content), size, shown), Sheet(size, trim, Box.of(size)))
    return Target(View.filling(Box.of(content), shown.size), Sheet(size, trim, shown, paper.margin))


def centred(content: Size, aspect: Size) -> Box:
    """The largest box in the middle of `content` with the aspect of `aspect`, at least one pixel a side."""
    width, height = content.width, content.height
    if width * aspect.height > height * aspect.width:
        width = max(1, round(height * aspect.width / aspect.height))
    else:
        height = max(1, round(width * aspect.height / aspect.width))
    return _middle(Size(width, height), Box.of(content))


def inside(content: Size, frame: Size) -> Size:
    """The largest size with the aspect of `content` in a frame: all of it for one of the frame's shape."""
    if same_shape(content, frame):
        return frame
    if content.width * frame.height > content.height * frame.width:
        return Size(frame.width, max(1, round(frame.width * content.height / content.width)))
    return Size(max(1, round(frame.height * content.width / content.height)), frame.height)


def same_shape(content: Size, frame: Size) -> bool:
    """Whether a content covers a frame if it is stretched by a pixel of it, or half a percent, at most."""
    width = frame.height * content.width / content.height
    height = frame.width * content.height / content.width
    return (
        min(abs(width - frame.width), abs(height - frame.height)) <= 1
        or max(width / frame.width, height / frame.height) <= 1 + SAME_SHAPE
    )


def nearer(picture: Size, one: Size, other: Size) -> bool:
    """Whether the shape of a picture is nearer to the first than to the second."""

    def apart(size: Size) -> float:
        ratio = (picture.width * size.height) / (picture.height * size.width)
        return max(ratio, 1 / ratio)

    return apart(one) < apart(other)


def _middle(size: Size, frame: Box) -> Box:
    left, top = (
        frame.left + (frame.width - size.width) // 2,
        frame.top + (frame.height - size.height) // 2,
    )
    return Box(left, top, left + size.width, top + size.height)


def _other_shape(paper: Print, content: Size, size: Size, trimmed: Size) -> str:
    """What is wrong, and what the other two ways would do about it."""
    crop, shown = centred(content, size), inside(content, trimmed)
    if crop.width < content.width:
        lost = f"{content.width - crop.width} of its {content.width} columns"
    else:
        lost = f"{content.height - crop.height} of its {content.height} rows"
    if shown.width < trimmed.width:
        added = f"{trimmed.width - shown.width} of the print's {trimmed.width} columns"
    else:
        added = f"{trimmed.height - shown.height} of the print's {trimmed.height} rows"
    return (
        f"output.print.fit: exact needs a content of the print's shape, {_shape(trimmed)}, got {content}, "
        f"which is {_shape(content)}; use fit: crop, which would cut off {lost}, or fit: pad, which would "
        f"fill {added}, or choose a print of the content's shape"
    )


def _shape(size: Size) -> str:
    return f"{size.width / size.height:.{_WORDS}f}:1"
