"""Soft proofs: how a picture will look on paper, as far as a screen can show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips

from tilefarm.files import replacing
from tilefarm.geometry import Size
from tilefarm.image.colour import WHITE_D50, encoded, srgb_matrix
from tilefarm.image.engine import quantised, raw_image, saving
from tilefarm.image.profiles import (
    CMYK_MODEL,
    OutputProfile,
    lab_to_device,
    load_profile_of,
    tagged,
    to_device,
    to_lab,
)
from tilefarm.image.resize import shrink
from tilefarm.spec.paper import DEFAULT_DPI
from tilefarm.spec.profile_names import Intent

LONG_SIDE = 2048
_MM_PER_INCH = 25.4
OUT_OF_GAMUT = 3.0
"""CIEDE2000. Tables of good profiles are off by less, there and back; people see 2 to 3 side by side."""


@dataclass(frozen=True)
class Proof:
    """What a proof found."""

    out_of_gamut: float
    """The share of pixels, 0..1, whose colour the press does not have: farther than OUT_OF_GAMUT from the
    nearest one that it has, black point compensated."""
    press: str
    """What the profile calls itself."""

    @property
    def sentence(self) -> str:
        """What a user wants to know."""
        share = f"{100 * self.out_of_gamut:.1f}%" if self.out_of_gamut >= 0.0005 else "nearly no part"
        return f"{share} of the picture has colours that the press does not print ({self.press})"


def load_press(path: Path) -> OutputProfile:
    """A CMYK profile. Raises ValueError, a sentence without its beginning, as `load_profile` does."""
    return load_profile_of(path, CMYK_MODEL)


def write_proof(
    source: Path,
    size: Size,
    target: Path,
    press: OutputProfile,
    intent: Intent,
    paper_white: bool,
    dpi: float = DEFAULT_DPI,
    *,
    wide: bool = False,
) -> Proof:
    """Write the proof of a raw canvas of `size` as an 8-bit sRGB PNG of at most LONG_SIDE pixels a side.

    `dpi` is that of the canvas: the proof is as large on paper. `wide`: its pixels outside 0..1 are colours
    that sRGB lacks, which the press may have although the proof cannot show them. Replaces `target`
    atomically; the canvas streams. Raises ResourceError where the disk is full.
    """
    with raw_image(source, size) as image:
        small = size if size.long_side <= LONG_SIDE else size.fit_long_side(LONG_SIDE)
        picture = shrink(image, small) if wide else shrink(image.clamp(), small).clamp()
        picture = picture.copy_memory()
    with replacing(target) as temporary, saving(target), temporary.open("wb") as file:
        shown = quantised(soft_proof(picture, press, intent, paper_white), 255)
        dots = dpi * small.width / size.width / _MM_PER_INCH
        shown = shown.copy(xres=dots, yres=dots)
        to = pyvips.Target.new_to_descriptor(file.fileno())
        shown.pngsave_target(to, profile="srgb", keep="icc")
    return Proof(share_out_of_gamut(picture, press), press.description)


def soft_proof(image: pyvips.Image, press: OutputProfile, intent: Intent, paper_white: bool) -> pyvips.Image:
    """A 3-band float sRGB image as it looks when it is printed: the same kind of image, of 0..1.

    What lies outside 0..1 is taken for colours that sRGB lacks.

    Colours go to the inks as for a print, with the intent. On the way back black is as dark as it prints,
    and the paper is the screen's white; with `paper_white` it has its own colour (absolute colorimetric).
    """
    lab = _from_device(to_device(image, press, intent), press, black_point_compensation=False)
    xyz = lab.Lab2XYZ(temp=[100 * value for value in WHITE_D50])
    white = np.divide(press.white, WHITE_D50) if paper_white else np.ones(3)
    matrix = np.linalg.inv(srgb_matrix()) @ np.diag(white) / 100
    return encoded(xyz.recomb(pyvips.Image.new_from_array(matrix.tolist()))).copy(interpretation="multiband")


def share_out_of_gamut(image: pyvips.Image, press: OutputProfile) -> float:
    """The share of a 3-band float sRGB image that comes back from the press as another colour, 0..1.

    Relative colorimetric with black point compensation both ways, so that what is left is what the inks
    cannot do. Tables of profiles are rough: what printable colours, those that came back once, lose on a
    second way is no fault of the colour and does not count.
    """
    lab = to_lab(image)
    once = _there_and_back(lab, press)
    lost = lab.dE00(once) - once.dE00(_there_and_back(once, press))
    return float((lost > OUT_OF_GAMUT).avg()) / 255


def _there_and_back(lab: pyvips.Image, press: OutputProfile) -> pyvips.Image:
    device = lab_to_device(lab, press, "relative", black_point_compensation=True)
    return _from_device(device, press, black_point_compensation=True)


def _from_device(device: pyvips.Image, press: OutputProfile, black_point_compensation: bool) -> pyvips.Image:
    return tagged(device, press).icc_import(
        embedded=True, intent="relative", black_point_compensation=black_point_compensation, pcs="lab"
    )
