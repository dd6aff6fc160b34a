"""Output profiles: loaded from a name or a file, and float pixels converted to their numbers."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyvips
from PIL import ImageCms

from tilefarm.image.colour import WHITE_D50, XYZ, srgb_matrix, srgb_profile
from tilefarm.spec.paths import check_is_file, found_path
from tilefarm.spec.profile_names import PROFILE_NAMES, Intent

__all__ = [
    "MAX_PROFILE_BYTES",
    "PROFILE_NAMES",
    "Intent",
    "OutputProfile",
    "converted",
    "load_profile",
    "tagged",
]

MAX_PROFILE_BYTES = 16 * 2**20
"""The largest profiles of presses have a few megabytes."""

RGB_MODEL, CMYK_MODEL = b"RGB ", b"CMYK"
"""Signatures of colour models in profiles."""

_FOLDER = Path(__file__).parent / "icc"
_CLASSES = {b"mntr": "display", b"prtr": "output", b"spac": "colour space", b"scnr": "input"}
_MODELS = {b"RGB ": "RGB", b"CMYK": "CMYK", b"GRAY": "grey", b"Lab ": "CIELab", b"XYZ ": "XYZ"}
_HEADER_BYTES = 128
_FIELD = "icc-profile-data"
_WHITE_16 = 2**16 - 1
_LONGEST_DESCRIPTION = 100


@dataclass(frozen=True)
class OutputProfile:
    """A colour profile that was looked at and can be converted to."""

    name: str
    """One of PROFILE_NAMES, or the path of its file."""
    data: bytes
    """The profile itself, to be embedded."""
    description: str
    """What it calls itself; printable."""
    white: XYZ = WHITE_D50
    """The white of its paper, in light of D50; of a display: D50."""

    @property
    def is_srgb(self) -> bool:
        """Whether it is the profile of the numbers that tilefarm works with."""
        return self.data == srgb_profile()


def load_profile(name_or_path: str | Path) -> OutputProfile:
    """A profile for RGB pictures, one of PROFILE_NAMES or the path of a file of at most 16 MiB.

    Raises ValueError, a sentence without its beginning, for a file that is missing or too large, that is no
    ICC profile, that is of another kind than RGB, or between which and CIELab no conversion is possible.
    """
    return load_profile_of(name_or_path, RGB_MODEL)


def load_profile_of(name_or_path: str | Path, model: bytes) -> OutputProfile:
    """As `load_profile`, for pictures of one of the models above."""
    name = str(name_or_path)
    if name in PROFILE_NAMES:
        data, where = _named(name), repr(name)
    else:
        data, where = _read(Path(name_or_path)), found_path(Path(name_or_path))
    _check_header(data, where, model)
    try:
        description = _described_by_littlecms(data)
        profile = OutputProfile(name, data, description, _media_white(data))
        to_device(pyvips.Image.black(1, 1, bands=3).cast("float"), profile, "relative").avg()
    except (ImageCms.PyCMSError, pyvips.Error, OSError, ValueError, TypeError) as error:
        said = error.detail if isinstance(error, pyvips.Error) else error
        raise ValueError(
            f"must be a profile that colours can be converted to and from, but {where} is damaged or lacks "
            f"what that needs ({' '.join(str(said).split()) or 'no reason given'})"
        ) from None
    return profile


def converted(
    image: pyvips.Image, profile: OutputProfile, intent: Intent, *, wide: bool = False
) -> pyvips.Image:
    """The numbers of the profile for a 3-band float image in sRGB: float, 3 bands, 0..1.

    What lies outside 0..1 is clipped first; where the image is `wide` it is colours that sRGB lacks, and the
    profile may have. The image itself where the profile is sRGB. Black point
    compensation comes with the relative intent. Lazy, in strips: by float CIELab of white D50, from where
    LittleCMS computes in floating point; the result has 16 bits.
    """
    if profile.is_srgb:
        return image
    unit = to_device(image if wide else image.clamp(), profile, intent).cast("float").linear(1 / _WHITE_16, 0)
    return unit.copy(interpretation="multiband")


def to_device(image: pyvips.Image, profile: OutputProfile, intent: Intent) -> pyvips.Image:
    """As `converted` of a wide image, for a profile of any colour model: 16-bit integers, as many bands as it
    has colours."""
    # By ICC.1:2022, section 6.3.2, absolute is relative with colours scaled by the white of the medium.
    # libvips' own absolute intent takes CIELab's white for 6504 K, and turned white blue.
    if intent == "absolute":
        return lab_to_device(to_lab(image, profile.white), profile, "relative")
    compensated = intent == "relative"
    return lab_to_device(to_lab(image), profile, intent, black_point_compensation=compensated)


def lab_to_device(
    lab: pyvips.Image, profile: OutputProfile, intent: Intent, *, black_point_compensation: bool = False
) -> pyvips.Image:
    """The profile's numbers, 16-bit integers, from float CIELab of white D50."""
    device = tagged(lab, profile).icc_export(
        intent=intent, black_point_compensation=black_point_compensation, pcs="lab", depth=16
    )
    device = device.copy()
    device.remove(_FIELD)
    return device


def tagged(image: pyvips.Image, profile: OutputProfile) -> pyvips.Image:
    """The same pixels with the profile attached, which savers embed (`keep="icc"`)."""
    copy = image.copy()
    copy.set_type(pyvips.GValue.blob_type, _FIELD, profile.data)
    return copy


def to_lab(image: pyvips.Image, white: XYZ = WHITE_D50) -> pyvips.Image:
    """CIELab from sRGB (IEC 61966-2-1, section 5.2; below 0 its curve mirrored): float.

    Scaled so that `white` becomes L 100.
    """
    amount = image.abs()
    light = (amount <= 0.04045).ifthenelse(amount * (1 / 12.92), ((amount + 0.055) * (1 / 1.055)) ** 2.4)
    linear = (image < 0).ifthenelse(-light, light)
    scales = [100 * d50 / paper for d50, paper in zip(WHITE_D50, white, strict=True)]
    matrix = [
        [scale * value for value in row] for scale, row in zip(scales, srgb_matrix().tolist(), strict=True)
    ]
    xyz = linear.recomb(pyvips.Image.new_from_array(matrix)).copy(interpretation="xyz")
    return xyz.XYZ2Lab(temp=[100 * value for value in WHITE_D50])


def _media_white(data: bytes) -> XYZ:
    """The white of the medium in XYZ; D50 for displays, to which eyes are taken to be adapted.

    Displays of version 2 may state another one, which LittleCMS also ignores.
    """
    profile = _opened(data).profile
    stated = profile.media_white_point
    if stated is None or min(stated[0]) <= 0 or (profile.device_class == "mntr" and profile.version < 4):
        return WHITE_D50
    return stated[0]


def _opened(data: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(data))


@cache
def _named(name: str) -> bytes:
    return srgb_profile() if name == "srgb" else (_FOLDER / f"{name}-compatible.icc").read_bytes()


def _read(path: Path) -> bytes:
    check_is_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PROFILE_BYTES + 1)
    except OSError as error:
        raise ValueError(
            f"names a profile that cannot be read, {found_path(path)}: {error.strerror}"
        ) from None
    if len(data) > MAX_PROFILE_BYTES:
        raise ValueError(
            f"must be a profile of at most {MAX_PROFILE_BYTES // 2**20} MiB, but {found_path(path)} is larger"
        )
    return data


def _check_header(data: bytes, where: str, model: bytes) -> None:
    """ICC.1:2022, section 7.2: size at 0, device class at 12, colour space at 16, signature at 36."""
    if len(data) < _HEADER_BYTES or data[36:40] != b"acsp":
        raise ValueError(f"must be an ICC profile, but {where} is none")
    if int.from_bytes(data[:4], "big") > len(data):
        raise ValueError(f"must be a whole ICC profile, but {where} is cut short; copy it again")
    if data[16:20] != model:
        kind = _MODELS.get(data[16:20], "another colour model")
        raise ValueError(f"must be a profile for {_MODELS[model]}, but {where} is one for {kind}")
    if data[12:16] not in _CLASSES:
        raise ValueError(
            f"must be the profile of a display, a printer or a colour space, but {where} only "
            "changes colours or links devices"
        )


def _described_by_littlecms(data: bytes) -> str:
    """What a profile calls itself. Raises what Pillow does where there is no way to its colours and back."""
    model = _MODELS[data[16:20]]
    profile = _opened(data)
    lab = ImageCms.createProfile("LAB")
    for intent in ImageCms.Intent:
        ImageCms.buildTransform(lab, profile, "LAB", model, intent)
    ImageCms.buildTransform(profile, lab, model, "LAB")
    text = ImageCms.getProfileDescription(profile)
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:_LONGEST_DESCRIPTION] or "a profile without a name"
