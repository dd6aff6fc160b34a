"""Pictures that the panels need besides those of jobs/: masks, and the painting in other colours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from scripts.control_strips.panels import PAINTING, PHOTOGRAPH

_SAUCER = (77, 66, 478, 389)
_CUP = (172, 16, 412, 260)
"""Boxes around ellipses of the photograph, in pixels."""
_SOFT = 5
_WHIRL = (270, 60, 570, 270)
"""The largest whirl of the painting."""


@dataclass(frozen=True)
class Pictures:
    """Where they are."""

    folder: Path

    @property
    def cup(self) -> Path:
        """White where the cup and its saucer are, with soft edges."""
        return self.folder / "cup.png"

    @property
    def whirl(self) -> Path:
        """White over the painting's largest whirl."""
        return self.folder / "whirl.png"

    @property
    def warm(self) -> Path:
        """The painting with red and blue exchanged."""
        return self.folder / "warm.png"


def make_pictures(folder: Path) -> Pictures:
    """Write those that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = Pictures(folder)
    with Image.open(PHOTOGRAPH) as photograph, Image.open(PAINTING) as painting:
        if not pictures.cup.exists():
            _ellipses(photograph.size, _SAUCER, _CUP).save(pictures.cup)
        if not pictures.whirl.exists():
            _ellipses(painting.size, _WHIRL).save(pictures.whirl)
        if not pictures.warm.exists():
            red, green, blue = painting.convert("RGB").split()
            Image.merge("RGB", (blue, green, red)).save(pictures.warm)
    return pictures


def _ellipses(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    for box in boxes:
        pen.ellipse(box, fill=255)
    return mask.filter(ImageFilter.GaussianBlur(_SOFT))
