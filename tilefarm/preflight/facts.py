"""What a picture file is, in the terms of a print shop: everything is read from the file itself."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips
from PIL import Image, ImageCms

from tilefarm.errors import JobError
from tilefarm.geometry import Box, Size
from tilefarm.image.colour import colour_kind
from tilefarm.image.engine import open_picture
from tilefarm.image.profiles import load_profile
from tilefarm.prepare import readable
from tilefarm.provenance import Record, record_of
from tilefarm.spec.profile_names import PROFILE_NAMES

MOST_PIXELS = 2_000_000_000
"""Of a file that is looked at: ours may be larger than those that are painted from."""

_NAMES = {"jpeg": "JPEG", "png": "PNG", "tiff": "TIFF", "webp": "WebP", "gif": "GIF", "nsgif": "GIF"}
_COMPRESSIONS = {
    1: "none",
    2: "fax",
    3: "fax group 3",
    4: "fax group 4",
    5: "LZW",
    6: "JPEG",
    7: "JPEG",
    8: "deflate",
    32946: "deflate",
    32773: "PackBits",
    50000: "zstd",
    50001: "WebP",
    34925: "LZMA",
}
"""Of TIFF's tag 259."""
_CODINGS = {"PNG": "deflate", "JPEG": "DCT", "GIF": "LZW", "AVIF": "AV1", "HEIC": "HEVC"}
_MODELS = {1: "grey", 3: "RGB", 4: "CMYK"}
_COMPRESSION, _RESOLUTION, _SUB_DIRECTORIES = 259, 282, 330
_PILLOW = ["JPEG", "PNG", "TIFF"]
_FRACTION = re.compile(r"(\d{1,10})/(\d{1,10})")
_CM_PER_INCH = 2.54
_RIFF_CHUNKS = 100


@dataclass(frozen=True)
class Facts:
    """Of a picture whose pixels all decode."""

    format: str
    size: Size
    """Upright."""
    dpi: tuple[float, float] | None
    """Across and down, as the file says; None where it says nothing."""
    bits: int
    """Of a channel."""
    is_float: bool
    model: str
    """grey, RGB, CMYK or CIELab."""
    alpha: bool
    profile: str | None
    """What the embedded profile calls itself; None for none."""
    profile_name: str | None
    """One of output.profile's names where it is that one, byte for byte or by what it calls itself."""
    profile_fits: bool
    """Whether it is one for this colour model."""
    compression: str
    layout: tuple[str, ...]
    """What is special: tiles, strips, pyramid, BigTIFF, progressive, interlaced, 4:2:0."""
    orientation: int
    """EXIF: 1 is upright."""
    pages: int
    record: Record | None
    record_fault: str | None
    """Why its record cannot be read."""

    @property
    def trim(self) -> Box | None:
        """What is left when the bleed is cut off, in pixels, where the record says so."""
        if (
            self.record is None
            or self.record.trim is None
            or self.record.picture != [self.size.width, self.size.height]
        ):
            return None
        box = Box(*self.record.trim)
        inside = (
            0 <= box.left < box.right <= self.size.width and 0 <= box.top < box.bottom <= self.size.height
        )
        return box if inside else None


def read_facts(path: Path) -> Facts:
    """Decode all of a file and read what it says of itself. Raises JobError where it is no whole picture."""
    info = readable(path, "picture", MOST_PIXELS)
    image = open_picture(path)
    kind = colour_kind(image)
    format = _format(image)
    dpi, tags = _header(path)
    compression, layout = _coding(path, image, format, tags)
    data = _bytes(image, "icc-profile-data")
    described = None if data is None else _described(data)
    record, fault = _record(image, path)
    return Facts(
        format=format,
        size=info.size,
        dpi=dpi or _exif_dpi(image),
        bits=_bits(image),
        is_float=image.format in ("float", "double"),
        model="CIELab" if kind.is_lab else _MODELS[kind.channels],
        alpha=kind.alpha,
        profile=described,
        profile_name=_known(data, described),
        profile_fits=not any("profile does not fit" in note for note in kind.notes),
        compression=compression,
        layout=layout,
        orientation=_number(image, "orientation", 1),
        pages=_number(image, "n-pages", 1),
        record=record,
        record_fault=fault,
    )


def _format(image: pyvips.Image) -> str:
    loader = str(image.get("vips-loader")).partition("load")[0]
    if loader == "heif":
        return "AVIF" if str(_text(image, "heif-compression")) == "av1" else "HEIC"
    return _NAMES.get(loader, loader)


def _text(image: pyvips.Image, field: str) -> str | None:
    return str(image.get(field)) if image.get_typeof(field) else None


def _number(image: pyvips.Image, field: str, otherwise: int) -> int:
    return int(image.get(field)) if image.get_typeof(field) else otherwise


def _bytes(image: pyvips.Image, field: str) -> bytes | None:
    return bytes(image.get(field)) if image.get_typeof(field) else None


def _bits(image: pyvips.Image) -> int:
    stored = {"uchar": 8, "ushort": 16, "uint": 32, "float": 32, "double": 64}.get(str(image.format), 8)
    return _number(image, "bits-per-sample", stored)


def _record(image: pyvips.Image, path: Path) -> tuple[Record | None, str | None]:
    try:
        return record_of(image, path), None
    except JobError as error:
        return None, str(error)


def _described(data: bytes) -> str:
    try:
        text = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data)))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "a profile that cannot be read"
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:100] or "a profile without a name"


def _known(data: bytes | None, described: str | None) -> str | None:
    """Which of our named profiles it is; by its own name a makers' version of the same space."""
    if data is None or described is None:
        return None
    for name in PROFILE_NAMES:
        if load_profile(name).data == data:
            return name
    plain = described.casefold().replace(" ", "").replace("-", "")
    words = {"srgb": "srgb", "displayp3": "display-p3", "adobergb": "adobe-rgb"}
    return next((name for word, name in words.items() if word in plain), None)


def _coding(
    path: Path, image: pyvips.Image, format: str, tags: Mapping[int, Any]
) -> tuple[str, tuple[str, ...]]:
    """How the pixels are compressed, and what is special about their layout."""
    marks = []
    if format == "TIFF":
        code = tags.get(_COMPRESSION, 1)
        with path.open("rb") as file:
            marks.append("BigTIFF" if file.read(4) in (b"II+\0", b"MM\0+") else "")
        marks.append("tiles" if image.get_typeof("tile-width") else "strips")
        marks.append("pyramid" if _SUB_DIRECTORIES in tags else "")
        compression = _COMPRESSIONS.get(code, f"code {code}") if isinstance(code, int) else "unknown"
    elif format == "WebP":
        compression = "lossless" if b"VP8L" in _riff_chunks(path) else "lossy"
    else:
        compression = _CODINGS.get(format, format)
        mark = "progressive" if format == "JPEG" else "interlaced"
        marks.append(mark if _number(image, "interlaced", 0) > 0 else "")
        marks.append(_text(image, "jpeg-chroma-subsample") or "")
    return compression, tuple(mark for mark in marks if mark)


def _riff_chunks(path: Path) -> list[bytes]:
    """The names of a WebP's chunks (RFC 9649, section 2.3)."""
    names: list[bytes] = []
    with path.open("rb") as file:
        file.seek(12)
        while len(names) < _RIFF_CHUNKS and len(header := file.read(8)) == 8:
            length = int.from_bytes(header[4:], "little")
            names.append(header[:4])
            file.seek(length + length % 2, 1)
    return names


def _header(path: Path) -> tuple[tuple[float, float] | None, Mapping[int, Any]]:
    """Dots per inch where the file says so, which libvips does not tell from its defaults, and a TIFF's tags.

    Nothing where Pillow, which reads the header alone, cannot read that.
    """
    try:
        with _any_number_of_pixels(), Image.open(path, formats=_PILLOW) as picture:
            dpi = picture.info.get("dpi")
            tags = dict(getattr(picture, "tag_v2", {}))
            if picture.format == "TIFF" and _RESOLUTION not in tags:
                dpi = None  # Pillow says 1 where the file says nothing
            return None if dpi is None else (float(dpi[0]), float(dpi[1])), tags
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, ArithmeticError, struct.error):
        return None, {}


@contextmanager
def _any_number_of_pixels() -> Iterator[None]:
    """Lift Pillow's limit, since no pixel is decoded, and hush its warnings about odd headers."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _exif_dpi(image: pyvips.Image) -> tuple[float, float] | None:
    """The same of a format that keeps it in EXIF, which libvips shows as text: "300/1 (300.00, Rational"."""
    found = [_FRACTION.match(_text(image, f"exif-ifd0-{axis}Resolution") or "") for axis in "XY"]
    unit = _text(image, "exif-ifd0-ResolutionUnit") or "Inch"
    numbers = [int(match[1]) / int(match[2]) for match in found if match is not None and int(match[2])]
    if len(numbers) < 2 or min(numbers) <= 0:
        return None
    scale = _CM_PER_INCH if "entimet" in unit else 1.0
    return numbers[0] * scale, numbers[1] * scale
