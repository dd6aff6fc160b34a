"""What kind of file a picture becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tilefarm.spec.profile_names import Intent

Format = Literal["tiff", "png", "jpeg", "webp"]
Depth = Literal[8, 16]
Compression = Literal["deflate", "lzw", "zstd", "none"]

EIGHT_BITS_ONLY: tuple[Format, ...] = ("jpeg", "webp")
DEFAULT_QUALITY = 95


@dataclass(frozen=True)
class FileForm:
    """Everything about an output file but its place, its size and its pixels.

    What a format has not (tiles in PNG, quality in TIFF) stays at its default. Raises ValueError for what
    the format cannot hold.
    """

    format: Format
    bit_depth: Depth
    dpi: float
    """Dots per inch."""
    profile: str = "srgb"
    """The colour space that pixels are converted to: one of PROFILE_NAMES, or the path of an ICC profile."""
    intent: Intent = "relative"
    """How colours outside of the profile's gamut are brought into it."""
    compression: Compression = "deflate"
    """Of TIFF."""
    tiled: bool = True
    """Whether a TIFF is stored in tiles; in strips otherwise."""
    pyramid: bool = False
    """Whether a TIFF holds halves, quarters ... of the picture too, in sub-directories."""
    quality: int = DEFAULT_QUALITY
    """Of JPEG and lossy WebP, 1..100."""
    lossless: bool = False
    """Of WebP."""
    dither: bool = False
    """Whether noise of a step or less replaces plain rounding to 8 bits."""
    seed: int = 0
    """Of that noise."""
    wide: bool = False
    """Whether pixels outside 0..1 are colours that sRGB lacks (`color.working_space: wide`): they are not
    clipped before they are converted to the profile."""

    def __post_init__(self) -> None:
        if self.format in EIGHT_BITS_ONLY and self.bit_depth != 8:
            raise ValueError(f"{format_name(self.format)} holds 8 bits only")
        if self.pyramid and not self.tiled:
            raise ValueError("a pyramid needs tiles")
        if self.compression == "zstd" and (self.pyramid or not self.tiled):
            raise ValueError("zstd is for tiles without a pyramid")
        if self.dither and self.bit_depth != 8:
            raise ValueError("only 8 bits are dithered")


def format_name(format: Format) -> str:
    """As people write it."""
    return "WebP" if format == "webp" else format.upper()
