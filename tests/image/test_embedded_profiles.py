"""Photographs with the profiles of cameras and editors, against the arithmetic of published figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.icc_files import (
    D50,
    D65,
    Primaries,
    gamma_curve,
    parametric_curve,
    profile_file,
    rgb_profile,
    table_curve,
    to_xyz,
)
from tilefarm.image.decode import check_decodes, inspect, open_srgb
from tilefarm.image.matrix_profile import matrix_profile
from tilefarm.prepare import readable

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
SRGB: Primaries = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))


@dataclass(frozen=True)
class Space:
    """A colour space as its standard has it."""

    primaries: Primaries
    white: tuple[float, float]
    decode: Curve
    """To linear light."""
    curve: bytes
    """The same in a profile."""

    @property
    def profile(self) -> bytes:
        """Its profile."""
        return rgb_profile(to_xyz(self.primaries, self.white), self.curve)


def lightness(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE 1976 L* of 0..1 to luminance."""
    star = numbers * 100
    return np.where(star > 8, ((star + 16) / 116) ** 3, star * 27 / 24389)


def srgb_decode(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(numbers <= 0.04045, numbers / 12.92, ((numbers + 0.055) / 1.055) ** 2.4)


def srgb_encode(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    light = linear.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def bt709(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(numbers < 0.081, numbers / 4.5, ((numbers + 0.099) / 1.099) ** (1 / 0.45))


SPACES = {
    "Adobe RGB": Space(
        ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), D65, lambda v: v ** (563 / 256), gamma_curve(563 / 256)
    ),
    "Display P3": Space(
        ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
        D65,
        srgb_decode,
        parametric_curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    ),
    "ProPhoto": Space(
        ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), D50, lambda v: v**1.8, gamma_curve(1.8)
    ),
    "eciRGB": Space(
        ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
        D50,
        lightness,
        table_curve(lightness(np.linspace(0, 1, 1024))),
    ),
    "BT.2020": Space(
        ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
        D65,
        bt709,
        parametric_curve(4, 1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081, 0, 0),
    ),
    "linear": Space(SRGB, D65, lambda v: v, parametric_curve(0, 1)),
}


def opened(path: Path) -> NDArray[np.float32]:
    info = inspect(path, "content")
    check_decodes(info)
    return np.asarray(open_srgb(info).numpy())


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_are_what_the_profile_says(
    tmp_path: Path, name: str, dtype: type[np.unsignedinteger]
) -> None:
    space, white = SPACES[name], np.iinfo(dtype).max
    values = np.random.default_rng(7).integers(0, white + 1, (80, 90, 3), dtype=dtype)
    tifffile.imwrite(tmp_path / "in.tif", values, photometric="rgb", iccprofile=space.profile, metadata=None)
    matrix = np.linalg.solve(to_xyz(SRGB, D65), to_xyz(space.primaries, space.white))
    linear = space.decode(values / white) @ matrix.T
    found = opened(tmp_path / "in.tif")
    # libvips' profile of sRGB rounds its matrix to four digits: that is all that differs.
    np.testing.assert_allclose(srgb_decode(found.astype(np.float64)), linear.clip(0, 1), atol=1.5e-3)
    plain = (linear.min(axis=-1) > 0.02) & (linear.max(axis=-1) < 1)
    assert plain.sum() > 300
    np.testing.assert_allclose(found[plain], srgb_encode(linear)[plain], atol=1 / 255)
    assert np.abs(found[plain] - values[plain] / white).max() > 0.05  # the profile does something


@pytest.mark.parametrize("kind", range(5))
def test_parametric_curves(kind: int) -> None:
    """ICC.1:2022, table 68, written out."""
    offset = -0.1 if kind in (1, 2) else 0.1
    parameters = (2.2, 0.9, offset, 0.5, 0.2, 0.03, 0.01)[: (1, 3, 4, 5, 7)[kind]]
    g, a, b, c, d, e, f = (*parameters, *[0.0] * (7 - len(parameters)))
    expected: list[float] = []
    numbers = np.arange(65536) / 65535
    for x in numbers[::251]:
        if kind == 0:
            expected.append(x**g)
        elif kind == 1:
            expected.append((a * x + b) ** g if x >= -b / a else 0)
        elif kind == 2:
            expected.append((a * x + b) ** g + c if x >= -b / a else c)
        elif kind == 3:
            expected.append((a * x + b) ** g if x >= d else c * x)
        else:
            expected.append((a * x + b) ** g + e if x >= d else c * x + f)
    curve = parametric_curve(kind, *parameters)
    found = matrix_profile(rgb_profile(np.eye(3), curve))
    if expected[0] != 0:
        assert found is None  # black is not black: left to LittleCMS, which compensates it
        return
    assert found is not None
    np.testing.assert_allclose(found.curves[0](numbers)[::251], expected, atol=1e-4)


@pytest.mark.parametrize(
    "data",
    [
        rgb_profile(np.eye(3), gamma_curve(2.2), A2B0=b"mft1" + bytes(60)),
        rgb_profile(np.eye(3), b"text" + bytes(20)),
        rgb_profile(np.eye(3), b"para" + bytes(20) + b"\1"),
        rgb_profile(np.eye(3), b"curv" + bytes(4) + b"\xff\xff\xff\xff" + bytes(40)),
        rgb_profile(np.eye(3), parametric_curve(9, 1)),
        rgb_profile(np.eye(3), table_curve(np.linspace(0.1, 1, 5))),
        rgb_profile(np.eye(3), gamma_curve(2.2))[:200],
        profile_file({}),
        profile_file({}, pcs=b"Lab "),
        b"",
        bytes(500),
    ],
)
def test_other_and_damaged_profiles_are_left_to_littlecms(data: bytes) -> None:
    assert matrix_profile(data) is None


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_with_a_profile(tmp_path: Path, bits: int) -> None:
    ramp = np.linspace(0, 2**bits - 1, 1000).astype(f"uint{bits}")[np.newaxis].repeat(4, axis=0)
    profile = profile_file({"kTRC": gamma_curve(1.8)}, space=b"GRAY")
    tifffile.imwrite(tmp_path / "grey.tif", ramp, photometric="minisblack", iccprofile=profile, metadata=None)
    expected = srgb_encode((ramp / (2**bits - 1)) ** (461 / 256))  # 1.8 as the profile rounds it
    found = opened(tmp_path / "grey.tif")
    np.testing.assert_allclose(found, expected[..., np.newaxis].repeat(3, axis=-1), atol=1e-4)


@pytest.mark.parametrize(("name", "share"), [("Display P3", 0.25), ("Adobe RGB", 0.25), ("linear", 0)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_that_srgb_lacks_are_told(
    tmp_path: Path, name: str, share: float, dtype: type[np.unsignedinteger]
) -> None:
    """A quarter is pure green, the rest grey."""
    white = np.iinfo(dtype).max
    values = np.full((40, 40, 3), white // 2, dtype)
    values[:20, :20] = (0, white, 0)
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, values, photometric="rgb", iccprofile=SPACES[name].profile, metadata=None)
    notes = readable(path, "content").notes
    if share:
        assert notes == ("25% of it has colours that sRGB lacks; they become the most saturated that it has",)
    else:
        assert notes == ()


def test_a_turned_clear_photograph_with_a_profile(tmp_path: Path) -> None:
    """Orientation, alpha and profile together: the alpha is not converted, the background is sRGB."""
    space = SPACES["Adobe RGB"]
    values = np.full((20, 30, 4), (60, 180, 90, 255), np.uint8)
    values[:, 15:, 3] = 51
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values, "RGBA").save(tmp_path / "in.png", icc_profile=space.profile, exif=exif)
    matrix = np.linalg.solve(to_xyz(SRGB, D65), to_xyz(space.primaries, space.white))
    colour = srgb_encode(matrix @ space.decode(values[0, 0, :3] / 255))
    found = opened(tmp_path / "in.png")
    assert found.shape == (30, 20, 3)
    np.testing.assert_allclose(found[0, 0], colour, atol=1 / 255)
    np.testing.assert_allclose(found[-1, 0], colour * 0.2 + 0.8, atol=1 / 255)
