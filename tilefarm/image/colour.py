"""From what a file holds to sRGB: channels, bit depth, alpha, colour profile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyvips
from numpy.typing import NDArray

from tilefarm.image.matrix_profile import MatrixProfile, matrix_profile

_CHANNELS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb16": 3, "rgb": 3, "scrgb": 3, "cmyk": 4}
_LAB = ("lab", "labs")
_WHITE = {"uchar": 2**8 - 1, "ushort": 2**16 - 1, "uint": 2**32 - 1, "float": 1, "double": 1}
_SPACE_16 = {1: "grey16", 3: "rgb16", 4: "cmyk"}
_PROFILE_SPACE = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}
_PROFILE_FIELD = "icc-profile-data"
FLATTENED = "alpha is flattened on white"
"""The note about a picture that is clear somewhere."""
_WHITE_16 = 2**16 - 1
_VISIBLE = 0.01
"""Of linear light."""


class UnsupportedColourError(ValueError):
    """The picture's channels or number format have no defined colour; the message says which."""


@dataclass(frozen=True)
class ColourKind:
    """How a picture's numbers are to be read."""

    channels: int
    """1 grey, 3 RGB or CIELab, 4 CMYK."""
    alpha: bool
    white: int
    """The number that stands for 1.0."""
    has_profile: bool
    """Whether a colour profile for these channels is embedded and is another than ours."""
    notes: tuple[str, ...]
    is_lab: bool = False
    """Whether the numbers are CIELab of white point D50, which needs no profile."""

    @property
    def is_float(self) -> bool:
        """Whether numbers are floating point with 1.0 for white."""
        return self.white == 1 and not self.is_lab


def colour_kind(image: pyvips.Image) -> ColourKind:
    """Read a picture's colour from its header. Raises UnsupportedColourError."""
    space = str(image.interpretation)
    if space in _LAB and image.bands == 3:
        return ColourKind(3, False, 1, False, ("CIELab is converted to sRGB",), is_lab=True)
    channels = _CHANNELS.get(space, 0)
    if channels == 0 or image.bands - channels not in (0, 1):
        raise UnsupportedColourError(f"has {image.bands} channels of kind {space}")
    if image.format not in _WHITE:
        raise UnsupportedColourError(f"has numbers of type {image.format}")
    alpha = image.bands > channels
    profile = bytes(image.get(_PROFILE_FIELD)) if image.get_typeof(_PROFILE_FIELD) else b""
    # ICC.1:2022, section 7.2: bytes 16-19 name the colour space, bytes 36-39 are the signature.
    usable = profile[36:40] == b"acsp" and profile[16:20] == _PROFILE_SPACE[channels]
    notes = []
    if alpha:
        notes.append(FLATTENED)
    if channels == 4:
        notes.append("CMYK is converted to sRGB")
    if profile and not usable:
        notes.append("the embedded colour profile does not fit the picture and is ignored")
    if _WHITE[image.format] == 1 and not usable:
        notes.append("floating point values are taken as sRGB from 0 to 1")
    has_profile = usable and profile != srgb_profile()  # our own pictures pass through unchanged
    return ColourKind(channels, alpha, _white(image), has_profile, tuple(notes))


@cache
def srgb_profile() -> bytes:
    """The sRGB profile that libvips brings, from Compact-ICC-Profiles (CC0)."""
    return bytes(pyvips.Operation.call("profile_load", "srgb"))


@cache
def srgb_matrix() -> NDArray[np.float64]:
    """From linear sRGB to XYZ of white D50, shape (3, 3), as the sRGB profile has it."""
    profile = matrix_profile(srgb_profile())
    assert profile is not None
    return profile.matrix


RGB = tuple[float, float, float]
WHITE: RGB = (1.0, 1.0, 1.0)
XYZ = tuple[float, float, float]
WHITE_D50: XYZ = (0.9642, 1.0, 0.8249)
"""The white of the profile connection space."""


def to_srgb(image: pyvips.Image, background: RGB = WHITE, *, wide: bool = False) -> pyvips.Image:
    """A 3-band float image in sRGB, 0..1, from any picture that `colour_kind` understands.

    Colours that sRGB lacks are clipped; `wide` keeps them as numbers outside 0..1 (`encoded_wide`).

    Alpha is flattened on the background, in sRGB. A profile is applied with relative colorimetric intent
    and black point compensation; without one grey and RGB count as sRGB, and CMYK as libvips' built-in
    press profile.
    """
    kind = colour_kind(image)
    if kind.is_lab:
        return _from_lab(image.colourspace("lab"), wide).copy(interpretation="multiband")
    stored = image.extract_band(0, n=kind.channels) if kind.alpha else image
    unit = _unit(stored, kind)
    if kind.has_profile or kind.channels == 4:
        unit = _through_profile(stored, unit, kind, wide)
    if unit.bands == 1:
        unit = unit.bandjoin([unit, unit])
    if kind.alpha:
        unit = ((unit - list(background)) * _share(image, kind) + list(background)).cast("float")
    return unit.copy(interpretation="multiband")


def _unit(stored: pyvips.Image, kind: ColourKind) -> pyvips.Image:
    unit = stored.cast("float").linear(1 / kind.white, 0)
    return unit.clamp() if kind.is_float else unit


def to_alpha(image: pyvips.Image) -> pyvips.Image:
    """The alpha of a picture that has one: 3 equal float bands, 0 where it is clear, 1 where it is solid."""
    share = _share(image, colour_kind(image))
    return share.bandjoin([share, share]).copy(interpretation="multiband")


def _share(image: pyvips.Image, kind: ColourKind) -> pyvips.Image:
    return image.extract_band(kind.channels).cast("float").linear(1 / kind.white, 0).clamp()


def _through_profile(stored: pyvips.Image, unit: pyvips.Image, kind: ColourKind, wide: bool) -> pyvips.Image:
    """From a picture with a profile, or from CMYK without one; `unit` is the same from 0 to 1."""
    device = stored if stored.format == "uchar" else _in_16_bits(unit)
    if kind.channels < 4 and (profile := matrix_profile(bytes(stored.get(_PROFILE_FIELD)))):
        return _by_matrix(device, profile, wide)
    if device.format == "uchar" and not wide:
        return _from_8_bits(device)
    named = device if device.format == "uchar" else device.copy(interpretation=_SPACE_16[kind.channels])
    return _from_device(named, wide)


def _by_matrix(device: pyvips.Image, profile: MatrixProfile, wide: bool) -> pyvips.Image:
    """In floating point."""
    linear = profile.linear(device) if len(profile.curves) == 1 else _linear_srgb(device, profile)
    return encoded_wide(linear) if wide else encoded(linear)


def _linear_srgb(device: pyvips.Image, profile: MatrixProfile) -> pyvips.Image:
    """Beyond 0..1 where sRGB does not have the colour."""
    matrix = np.linalg.solve(srgb_matrix(), profile.matrix)
    return profile.linear(device).recomb(pyvips.Image.new_from_array(matrix.tolist()))


def share_outside_srgb(image: pyvips.Image) -> float:
    """The share of pixels, 0..1, whose colour sRGB visibly lacks, read from top to bottom.

    0 for pictures whose profile is not of curves and a matrix: those are not looked at.
    """
    kind = colour_kind(image)
    if kind.channels != 3 or not kind.has_profile:
        return 0.0
    profile = matrix_profile(bytes(image.get(_PROFILE_FIELD)))
    if profile is None:
        return 0.0
    stored = image.extract_band(0, n=3)
    device = stored if stored.format == "uchar" else _in_16_bits(_unit(stored, kind))
    linear = _linear_srgb(device, profile)
    outside = (linear < -_VISIBLE).bandor() | (linear > 1 + _VISIBLE).bandor()
    return float(outside.avg()) / 255


def encoded(linear: pyvips.Image) -> pyvips.Image:
    """sRGB of 0..1 from its linear light, float, clipped to 0..1 (IEC 61966-2-1, section 5.3)."""
    return _curved(linear.clamp())


def encoded_wide(linear: pyvips.Image) -> pyvips.Image:
    """As `encoded`, but nothing is clipped: the curve goes on above 1, and is mirrored below 0."""
    amount = _curved(linear.abs())
    return (linear < 0).ifthenelse(-amount, amount)


def _curved(light: pyvips.Image) -> pyvips.Image:
    return (light <= 0.0031308).ifthenelse(light * 12.92, light ** (1 / 2.4) * 1.055 - 0.055)


def _in_16_bits(unit: pyvips.Image) -> pyvips.Image:
    return unit.linear(_WHITE_16, 0).rint().cast("ushort")


def _from_8_bits(device: pyvips.Image) -> pyvips.Image:
    """Through the profile in one step, which LittleCMS computes closely for 8 bits in, 16 out."""
    converted = device.icc_transform(
        "srgb", embedded=True, intent="relative", black_point_compensation=True, depth=16
    )
    return converted.cast("float").linear(1 / _WHITE_16, 0)


def _from_device(device: pyvips.Image, wide: bool) -> pyvips.Image:
    """Through the profile by way of CIELAB.

    For 16 bits in, LittleCMS replaces the one step by a coarse table: saturated Display P3 came out up to
    13/255 off. The way through 16-bit CIELAB stayed within 0.9/255.
    """
    lab = device.icc_import(embedded=True, intent="relative", black_point_compensation=True, pcs="lab")
    return _from_lab(lab, wide)


def _from_lab(lab: pyvips.Image, wide: bool) -> pyvips.Image:
    """From CIELab of white D50."""
    if wide:
        xyz = lab.Lab2XYZ(temp=[100 * value for value in WHITE_D50])
        matrix = np.linalg.inv(srgb_matrix()) / 100
        return encoded_wide(xyz.recomb(pyvips.Image.new_from_array(matrix.tolist())))
    converted = lab.icc_export(
        output_profile="srgb", intent="relative", black_point_compensation=True, pcs="lab", depth=16
    )
    return converted.cast("float").linear(1 / _WHITE_16, 0)


def _white(image: pyvips.Image) -> int:
    # HEIF loaders shift 10 and 12 bits to the top of 16, which leaves white a little below 65535.
    if image.format == "ushort" and str(image.get("vips-loader")).startswith("heif"):
        bits: int = image.get("bits-per-sample") if image.get_typeof("bits-per-sample") else 16
        return ((1 << bits) - 1) << (16 - bits)
    return _WHITE[str(image.format)]
