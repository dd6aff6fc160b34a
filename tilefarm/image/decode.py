"""Pictures that come from outside: looked at, checked, and opened as sRGB. Trusts no file name."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyvips

from tilefarm.errors import JobError
from tilefarm.geometry import Size
from tilefarm.image.breakage import broken_byte, broken_row, wrong_checksum
from tilefarm.image.colour import (
    FLATTENED,
    RGB,
    WHITE,
    UnsupportedColourError,
    colour_kind,
    share_outside_srgb,
    to_alpha,
    to_srgb,
)
from tilefarm.image.decoder_memory import decoder_bytes
from tilefarm.image.engine import READABLE, complaints, open_picture, reason
from tilefarm.image.orientation import ORIENTATIONS, Orientation

MAX_INPUT_PIXELS = 500_000_000
"""Larger pictures are refused by their header: a file of a few kilobytes can claim any size."""

_FLOAT_RANGE = 2.0
_WORTH_A_NOTE = 0.01
_DAMAGE = ("Corrupt JPEG data", "error in tile", "Read error", "Decoding error", "Discarding")
_CLIPPED = "colours that sRGB lacks; they become the most saturated that it has"
_PAGES_FIELD = "n-pages"
_ORIENTATION_FIELD = "orientation"


@dataclass(frozen=True)
class PictureInfo:
    """What the header of a picture says."""

    path: Path
    label: str
    """Which entry of the job names it, for example "content"; begins every message about it."""
    size: Size
    """After EXIF orientation."""
    orientation: Orientation
    is_float: bool
    """Whether it holds floating point numbers."""
    notes: tuple[str, ...]
    """What happens to the picture on the way in that its owner may want to know."""
    has_alpha: bool = False
    background: RGB = WHITE
    """What shows through where it is clear, in sRGB."""
    decoder_bytes: int = 0
    """Memory that its decoder takes beside some rows."""
    wide: bool = False
    """Whether colours that sRGB lacks are kept when it is opened, as numbers outside 0..1."""

    def on(self, background: RGB, name: str, kept: bool = False) -> PictureInfo:
        """The same picture flattened on another background, which notes call `name`; `kept`: for painting."""
        said = (
            f"is painted as it looks on {name}; its alpha is kept"
            if kept
            else f"alpha is flattened on {name}"
        )
        notes = tuple(said if note == FLATTENED else note for note in self.notes)
        return replace(self, background=background, notes=notes)

    def widened(self) -> PictureInfo:
        """The same picture, opened with the colours that sRGB lacks."""
        notes = tuple(note for note in self.notes if not note.endswith(_CLIPPED))
        return replace(self, wide=True, notes=notes)


def inspect(path: Path, label: str, most_pixels: int = MAX_INPUT_PIXELS) -> PictureInfo:
    """Read a picture's header; no pixel is decoded.

    Raises JobError, one sentence that begins with the label, for a file that is missing, empty, no
    picture of a supported format, of more than `most_pixels`, or of a colour without definition.
    """
    _check_file(path, label)
    try:
        image = open_picture(path)
    except OSError as error:
        raise JobError(f"{label}: {path} cannot be read ({error.strerror})") from error
    except pyvips.Error as error:
        place = broken_byte(path)
        why = f"{place}; {reason(error)}" if place else reason(error)
        raise JobError(
            f"{label}: {path} is not a {READABLE} picture, or it is damaged ({why}); "
            "save it again as PNG, TIFF or JPEG"
        ) from error
    stored = Size(image.width, image.height)
    if stored.pixels > most_pixels:
        raise JobError(
            f"{label}: {path} must not have more than {most_pixels // 10**6} megapixels, "
            f"got {stored} ({stored.pixels / 1e6:.0f} megapixels); save a smaller version"
        )
    try:
        kind = colour_kind(image)
    except UnsupportedColourError as error:
        raise JobError(f"{label}: {path} {error}; save it as RGB, grey or CMYK with 8 or 16 bits") from error
    notes = kind.notes
    pages = int(image.get(_PAGES_FIELD)) if image.get_typeof(_PAGES_FIELD) else 1
    if pages > 1:
        notes = (f"only the first of {pages} pages is used", *notes)
    orientation = _orientation(image)
    return PictureInfo(
        path=path,
        label=label,
        size=orientation.turn(stored),
        orientation=orientation,
        is_float=kind.is_float,
        notes=notes,
        has_alpha=kind.alpha,
        decoder_bytes=decoder_bytes(image, path),
    )


def check_decodes(info: PictureInfo) -> None:
    """Decode every pixel once, in strips; raises JobError where the data is truncated or damaged.

    Floating point pictures are also refused where a value is not finite or far outside 0..1.
    """
    try:
        statistics = _decode(info.path)
    except (pyvips.Error, OSError) as error:
        raise JobError(_undecodable(info, error)) from error
    if place := wrong_checksum(info.path):
        raise JobError(f"{info.label}: {info.path} is damaged ({place}); save it again")
    if info.is_float:
        low, high, total = (float(statistics(column, 0)[0]) for column in range(3))
        if not math.isfinite(total) or low < -_FLOAT_RANGE or high > _FLOAT_RANGE:
            raise JobError(
                f"{info.label}: {info.path} must hold floating point values from 0 to 1, "
                f"got {low:g} to {high:g} with sum {total:g}; save it with 16-bit integers"
            )


def with_clipped_colours(info: PictureInfo) -> PictureInfo:
    """The same picture, with a note where much of it has colours that become duller in sRGB.

    Decodes it once more where it has a profile of its own. Raises JobError where it has gone or changed.
    """
    with reading(info):
        share = share_outside_srgb(open_picture(info.path, access="sequential", fail_on="error"))
    if share < _WORTH_A_NOTE:
        return info
    note = f"{share:.0%} of it has {_CLIPPED}"
    return replace(info, notes=(*info.notes, note))


def _undecodable(info: PictureInfo, error: pyvips.Error | OSError) -> str:
    """A sentence with the place, by row and byte, where it can be found."""
    why = reason(error) if isinstance(error, pyvips.Error) else str(error.strerror)
    if "not been built in" in why:  # libheif's words: wheels come without HEVC, for its patents
        return (
            f"{info.label}: {info.path} is compressed in a way that the installed libvips cannot read "
            f"({why}); save it as JPEG, PNG or TIFF"
        )
    height = info.orientation.turn(info.size).height
    places = [place for place in (broken_row(info.path, height, "warning"), broken_byte(info.path)) if place]
    what = "truncated or damaged" if places else "truncated, damaged or compressed in an unknown way"
    return f"{info.label}: {info.path} is {what} ({'; '.join([*places, why])}); save it again"


def open_stored(info: PictureInfo, part: Literal["colour", "alpha"] = "colour") -> pyvips.Image:
    """The picture as sRGB, float, 3 bands, 0..1, as it lies in the file: not yet turned upright.

    Its alpha, where that is the part that is asked for, is in all three bands. It can be read once, from
    top to bottom. Raises JobError where the file has gone or changed.
    """
    with reading(info):
        image = open_picture(info.path, access="sequential", fail_on="error")
        return to_alpha(image) if part == "alpha" else to_srgb(image, info.background, wide=info.wide)


@contextmanager
def reading(info: PictureInfo) -> Iterator[None]:
    """Name the picture where it turns out, after its inspection, that it cannot be read any more."""
    try:
        yield
    except (pyvips.Error, FileNotFoundError, PermissionError, UnsupportedColourError) as error:
        raise JobError(
            f"{info.label}: {info.path} was changed or removed after it was checked; put it back"
        ) from error


def open_srgb(info: PictureInfo) -> pyvips.Image:
    """The upright picture as sRGB, float, 3 bands, 0..1.

    An upright file can be read once, from top to bottom; a turned one is decoded as a whole first
    (libvips moves it to a temporary file beyond 100 MB).
    """
    image = open_stored(info)
    orientation = info.orientation
    if orientation.upright:
        return image
    image = image.copy_memory()
    if orientation.transposed:
        image = image.rot90().fliphor()
    if orientation.mirrored_x:
        image = image.fliphor()
    return image.flipver() if orientation.mirrored_y else image


def _check_file(path: Path, label: str) -> None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise JobError(f"{label}: {path} does not exist; check the path in the job file") from error
    except OSError as error:
        raise JobError(f"{label}: {path} cannot be read ({error.strerror})") from error
    if stat.S_ISDIR(status.st_mode):
        raise JobError(f"{label}: {path} is a folder; name a picture file in it")
    if not stat.S_ISREG(status.st_mode):
        raise JobError(f"{label}: {path} is not a regular file; name a picture file")
    if status.st_size == 0:
        raise JobError(f"{label}: {path} is empty; save the picture again")
    if not os.access(path, os.R_OK):
        raise JobError(f"{label}: {path} cannot be read; change its permissions")


def _orientation(image: pyvips.Image) -> Orientation:
    value = int(image.get(_ORIENTATION_FIELD)) if image.get_typeof(_ORIENTATION_FIELD) else 1
    return ORIENTATIONS.get(value, ORIENTATIONS[1])


def _decode(path: Path) -> pyvips.Image:
    """Read all pixels; libvips' matrix of statistics (min, max, sum ... of all bands in row 0).

    libjpeg paints data that broke in the middle grey or shifted and only warns, so warnings count.
    Its other warnings, of bytes between segments or unusual parameters, come with the files of many
    cameras and harm nothing; so do TIFF's of odd tags.
    """
    try:
        return open_picture(path, access="sequential", fail_on="warning").stats()
    except pyvips.Error as error:
        if _is_damage(str(error.detail)):
            raise
    with complaints() as heard:
        statistics = open_picture(path, access="sequential", fail_on="error").stats()
    damage = [line for line in heard if _is_damage(line)]
    if damage:
        raise pyvips.Error(damage[0])
    return statistics


def _is_damage(complaint: str) -> bool:
    """Whether it is about pixels: words of libjpeg, of libtiff, and of libvips about tiles."""
    return any(word in complaint for word in _DAMAGE) and "extraneous" not in complaint
