"""What kind of file a picture becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["tiff", "png", "jpeg"]
Depth = Literal[8, 16]


@dataclass(frozen=True)
class FileForm:
    """Everything about an output file but its place, its size and its pixels. Raises ValueError for what
    the format cannot hold."""

    format: Format
    bit_depth: Depth
    dpi: float
    """Dots per inch."""

    def __post_init__(self) -> None:
        if self.format == "jpeg" and self.bit_depth != 8:
            raise ValueError("JPEG holds 8 bits only")
