"""Words on pictures, in the typeface that Pillow carries within itself."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property

from PIL import ImageDraw, ImageFont

INK = (20, 20, 20)
_JOINTS = "_-,/="
_LINE = 1.3
"""Height of a line over the size of its letters."""


@dataclass(frozen=True)
class Lettering:
    """Text of one size, in pixels."""

    size: int

    @cached_property
    def _font(self) -> ImageFont.FreeTypeFont:
        # Aileron Regular (CC0), embedded in Pillow: the same on every system. It holds ASCII.
        font = ImageFont.load_default(self.size)
        assert isinstance(font, ImageFont.FreeTypeFont), "Pillow without FreeType"
        return font

    @property
    def line_height(self) -> int:
        """From line to line."""
        return round(self.size * _LINE)

    def wrapped(self, text: str, width: int, most_lines: int) -> list[str]:
        """The text in lines of at most `width` pixels, broken at spaces, or anywhere in longer words.

        Beyond `most_lines` it ends in "...". What the typeface lacks loses its accents or becomes "?".
        """
        lines: list[str] = []
        for word in _plain(text).split():
            joined = f"{lines[-1]} {word}" if lines else word
            if self._fits(joined, width):
                lines[-1:] = [joined]
            else:
                lines += self._broken(word, width)
        if len(lines) > most_lines:
            last = lines[most_lines - 1]
            while last and not self._fits(f"{last}...", width):
                last = last[:-1]
            lines[most_lines - 1 :] = [f"{last}..."]
        return lines

    def height(self, lines: int) -> int:
        """Of so many lines."""
        return lines * self.line_height

    def draw(self, to: ImageDraw.ImageDraw, lines: list[str], x: int, y: int, width: int) -> None:
        """Lines from `y` down, centred in `width` from `x`."""
        for number, line in enumerate(lines):
            indent = max(0, (width - round(self._font.getlength(line))) // 2)
            to.text((x + indent, y + number * self.line_height), line, INK, self._font)

    def _fits(self, text: str, width: int) -> bool:
        return self._font.getlength(text) <= width

    def _broken(self, word: str, width: int) -> list[str]:
        """Behind one of its joints where there is one, else in the middle."""
        pieces = [""]
        for letter in word:
            if pieces[-1] and not self._fits(pieces[-1] + letter, width):
                joint = max(pieces[-1].rfind(sign) for sign in _JOINTS) + 1 or len(pieces[-1])
                pieces[-1:] = [pieces[-1][:joint], pieces[-1][joint:]]
            pieces[-1] += letter
        return pieces


_REPLACED = str.maketrans(
    {
        **{"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D"},
        **{"ð": "d", "Ð": "D", "ł": "l", "Ł": "L", "þ": "th", "Þ": "Th", "ı": "i", "×": "x", "€": "EUR"},
        **dict.fromkeys("‘’‚‹›", "'"),
        **dict.fromkeys("“”„«»", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
    }
)
"""Letters and signs that Unicode does not take apart."""


def _plain(text: str) -> str:
    """In ASCII: letters lose their accents (ä becomes a), other scripts become "?" letter by letter."""
    letters = unicodedata.normalize("NFKD", text.translate(_REPLACED))
    return "".join(
        letter if " " <= letter <= "~" else "?" for letter in letters if not unicodedata.combining(letter)
    )
