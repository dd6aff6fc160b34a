"""A validator that reopens what the writer wrote and decodes all of it."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyvips
import tifffile
from PIL import Image, UnidentifiedImageError

from tilefarm.errors import TilefarmError
from tilefarm.geometry import Size
from tilefarm.image.engine import complaints, open_picture, reason
from tilefarm.image.profiles import load_profile
from tilefarm.output.encode import TIFF_TILE
from tilefarm.spec.file_form import FileForm

_DPI_TOLERANCE = 0.005
_BITS_PER_SAMPLE = 258
_COMPRESSION = 259
_TILE_WIDTH = 322
_SUB_DIRECTORIES = 330
_CODES = {"none": (1,), "lzw": (5,), "deflate": (8, 32946), "zstd": (50000,)}
_PROFILE = "icc-profile-data"
_MM_PER_INCH = 25.4
_BUFFER_BYTES = 1 << 25


def check_output(path: Path, size: Size, form: FileForm, *, alpha: bool = False) -> None:
    """Compare a written file with what was asked for and decode all of its pixels.

    With `alpha` it has a fourth channel.
    Pillow reads the header; of a WebP libvips, because Pillow makes room for all pixels. Then libvips decodes
    everything in strips, but for most TIFFs tifffile every tile, checksums included where the format has
    them; memory does not grow with the picture (WebP: its decoder's). Raises TilefarmError that names
    everything that differs.
    """
    channels = "RGBA" if alpha else "RGB"
    if form.format == "webp":
        problems = _webp_problems(path, size, form, len(channels))
    else:
        problems = _header_problems(path, size, form, channels)
    problems = problems or _pixel_problems(path, size, form, len(channels))
    if problems:
        raise TilefarmError(f"the written file {path} is not as it should be: {'; '.join(problems)}")


def _header_problems(path: Path, size: Size, form: FileForm, channels: str) -> list[str]:
    kind, dpi = form.format.upper(), form.dpi
    try:
        with _strict_about_headers(), Image.open(path, formats=[kind]) as image:
            found: dict[str, tuple[object, object]] = {
                "size": (str(size), f"{image.width}x{image.height}"),
                "channels": (tuple(channels), image.getbands()),
                "bits": ((form.bit_depth,) * len(channels), _bits(path, image)),
                "colour profile": (form.profile, _profile(image.info.get("icc_profile"), form)),
            }
            if form.format == "tiff":
                found |= _tiff_layout(image, form)
            resolution = tuple(float(value) for value in image.info.get("dpi", (0.0, 0.0)))
    except (UnidentifiedImageError, OSError, SyntaxError, UserWarning) as error:
        return [f"Pillow cannot open it as {kind} ({error})"]
    return _differences(found, resolution, dpi)


def _differences(
    found: dict[str, tuple[object, object]], resolution: tuple[float, ...], dpi: float
) -> list[str]:
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


def _profile(embedded: bytes | None, form: FileForm) -> str:
    if not embedded:
        return "missing"
    return form.profile if embedded == load_profile(form.profile).data else "another one"


def _tiff_layout(image: Image.Image, form: FileForm) -> dict[str, tuple[object, object]]:
    tags = image.tag_v2  # type: ignore[attr-defined]
    names = {code: name for name, codes in _CODES.items() for code in codes}
    return {
        "compression": (form.compression, names.get(tags.get(_COMPRESSION))),
        "tiled": (form.tiled, _TILE_WIDTH in tags),
        "pyramid": (form.pyramid and max(image.size) > TIFF_TILE, _SUB_DIRECTORIES in tags),
    }


def _webp_problems(path: Path, size: Size, form: FileForm, channels: int) -> list[str]:
    try:
        image = open_picture(path)
        if (loader := image.get("vips-loader")) != "webpload_source":
            return [f"libvips opens it with {loader}, not as a WebP"]
    except (pyvips.Error, OSError) as error:
        return [f"libvips cannot open it as a WebP ({error})"]
    embedded = image.get(_PROFILE) if image.get_typeof(_PROFILE) else None
    found: dict[str, tuple[object, object]] = {
        "size": (str(size), f"{image.width}x{image.height}"),
        "channels": (channels, image.bands),
        "colour profile": (form.profile, _profile(embedded, form)),
    }
    return _differences(found, (image.xres * _MM_PER_INCH, image.yres * _MM_PER_INCH), form.dpi)


def _pixel_problems(path: Path, size: Size, form: FileForm, channels: int) -> list[str]:
    try:
        if form.format == "tiff" and form.compression != "lzw":
            return _tiff_problems(path)
        image = _decoded(path)
        if form.pyramid:
            for number in range(image.get("n-subifds") if image.get_typeof("n-subifds") else 0):
                _decoded(path, subifd=number)
    except pyvips.Error as error:
        return [f"its pixels do not decode ({reason(error)})"]
    except (tifffile.TiffFileError, zlib.error, OSError, ValueError, RuntimeError) as error:
        return [f"its pixels do not decode ({error})"]
    if (image.width, image.height, image.bands) != (size.width, size.height, channels):
        return [f"libvips sees {image.width}x{image.height} with {image.bands} channels"]
    return []


def _decoded(path: Path, **options: int) -> pyvips.Image:
    """A picture all of whose pixels libvips has decoded. Raises ValueError where it complains."""
    with complaints() as heard:
        image = open_picture(path, access="sequential", fail_on="warning", **options)
        image.avg()
    if heard:
        raise ValueError(heard[0])
    return image


def _tiff_problems(path: Path) -> list[str]:
    """Decode every tile and strip, of a pyramid's smaller pictures too, with codecs that compare checksums;
    libtiff stops before it comes to them. There is none for LZW."""
    problems = []
    with tifffile.TiffFile(path) as file:
        first = file.pages.first
        for page in (first, *(first.pages or ())):
            found = sum(data is not None for data, *_ in page.segments(buffersize=_BUFFER_BYTES))
            if found != (expected := len(page.dataoffsets)):
                problems.append(f"only {found} of {expected} tiles hold data")
    return problems


@contextmanager
def _strict_about_headers() -> Iterator[None]:
    """Lift Pillow's limit on pixels, as this file is ours and only its header is read, and take its warnings
    about damage for errors."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
