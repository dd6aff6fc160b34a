"""A validator that reopens what the writer wrote and decodes all of it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyvips
import tifffile
from PIL import Image, UnidentifiedImageError

from tilefarm.errors import TilefarmError
from tilefarm.geometry import Size
from tilefarm.image.engine import open_picture, reason
from tilefarm.spec.file_form import FileForm, Format

_DPI_TOLERANCE = 0.005
_BITS_PER_SAMPLE = 258
_BUFFER_BYTES = 1 << 25


def check_output(path: Path, size: Size, form: FileForm, *, alpha: bool = False) -> None:
    """Compare a written file with what was asked for and decode all of its pixels.

    With `alpha` it has a fourth channel.
    Pillow reads the header. Then libvips decodes a PNG or JPEG in strips, and tifffile every tile of a
    TIFF, checksums included where the format has them; memory does not grow with the picture. Raises
    TilefarmError that names everything that differs.
    """
    channels = "RGBA" if alpha else "RGB"
    problems = _header_problems(path, size, form, channels)
    problems = problems or _pixel_problems(path, size, form.format, len(channels))
    if problems:
        raise TilefarmError(f"the written file {path} is not as it should be: {'; '.join(problems)}")


def _header_problems(path: Path, size: Size, form: FileForm, channels: str) -> list[str]:
    kind, dpi = form.format.upper(), form.dpi
    try:
        with _any_number_of_pixels(), Image.open(path, formats=[kind]) as image:
            found: dict[str, tuple[object, object]] = {
                "size": (str(size), f"{image.width}x{image.height}"),
                "channels": (tuple(channels), image.getbands()),
                "bits": ((form.bit_depth,) * len(channels), _bits(path, image)),
                "colour profile": (True, bool(image.info.get("icc_profile"))),
            }
            resolution = tuple(float(value) for value in image.info.get("dpi", (0.0, 0.0)))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        return [f"Pillow cannot open it as {kind} ({error})"]
    problems = [f"{name} is {got}, not {wanted}" for name, (wanted, got) in found.items() if got != wanted]
    if any(abs(value - dpi) > dpi * _DPI_TOLERANCE for value in resolution):
        problems.append(f"dpi is {resolution}, not {dpi:g}")
    return problems


def _bits(path: Path, image: Image.Image) -> tuple[int, ...]:
    """Bits per sample, which Pillow's modes do not tell: it reads 16-bit RGB as 8 bits."""
    if image.format == "TIFF":
        return tuple(image.tag_v2[_BITS_PER_SAMPLE])  # type: ignore[attr-defined]
    if image.format == "PNG":
        with path.open("rb") as file:  # the IHDR chunk is always first: width, height, bit depth
            _, _, depth = struct.unpack(">IIB", file.read(25)[16:25])
        return (depth,) * len(image.getbands())
    return (8,) * 3


def _pixel_problems(path: Path, size: Size, format: Format, channels: int) -> list[str]:
    try:
        if format == "tiff":
            return _tiff_problems(path)
        image = open_picture(path, access="sequential", fail_on="warning")
        image.stats()
    except pyvips.Error as error:
        return [f"its pixels do not decode ({reason(error)})"]
    except (tifffile.TiffFileError, zlib.error, OSError, ValueError, RuntimeError) as error:
        return [f"its pixels do not decode ({error})"]
    if (image.width, image.height, image.bands) != (size.width, size.height, channels):
        return [f"libvips sees {image.width}x{image.height} with {image.bands} channels"]
    return []


def _tiff_problems(path: Path) -> list[str]:
    """Decode every tile with zlib, which compares checksums; libtiff stops before it comes to them."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        found = sum(data is not None for data, *_ in page.segments(buffersize=_BUFFER_BYTES))
    expected = len(page.dataoffsets)
    return [] if found == expected else [f"only {found} of {expected} tiles hold data"]


@contextmanager
def _any_number_of_pixels() -> Iterator[None]:
    """Lift Pillow's limit on pixels: this file is ours and only its header is read."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
