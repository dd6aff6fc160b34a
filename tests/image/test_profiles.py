"""Output profiles against the published matrices, LittleCMS through Pillow, and files that do harm."""

from __future__ import annotations

import io
import os
import runpy
import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tilefarm.image.decode import check_decodes, inspect, open_srgb
from tilefarm.image.engine import quantised
from tilefarm.image.profiles import (
    MAX_PROFILE_BYTES,
    PROFILE_NAMES,
    Intent,
    converted,
    load_profile,
    tagged,
)

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_display_p3.py"
INTENTS: tuple[Intent, ...] = ("relative", "perceptual", "saturation", "absolute")

PILLOWS = {
    "relative": ImageCms.Intent.RELATIVE_COLORIMETRIC,
    "perceptual": ImageCms.Intent.PERCEPTUAL,
    "saturation": ImageCms.Intent.SATURATION,
    "absolute": ImageCms.Intent.ABSOLUTE_COLORIMETRIC,
}

# White D65 and primaries as published: IEC 61966-2-1; SMPTE EG 432-1; Adobe RGB (1998), section 4.3.1.
D65 = (0.3127, 0.3290)
PRIMARIES = {
    "srgb": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "display-p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "adobe-rgb": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
}


LINEAR_TOLERANCE = 6e-4


def linear_to_xyz(name: str) -> NDArray[np.float64]:
    """SMPTE RP 177: the columns are the primaries, scaled so that they make the white together."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[name]]).T
    white = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]])
    return np.asarray(columns * np.linalg.solve(columns, white))


def decode(name: str, numbers: NDArray[np.floating]) -> NDArray[np.float64]:
    """Linear light."""
    if name == "adobe-rgb":
        return np.asarray(numbers, np.float64) ** (563 / 256)
    return np.where(numbers <= 0.04045, numbers / 12.92, ((numbers + 0.055) / 1.055) ** 2.4)


def encode(name: str, linear: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = linear.clip(0, 1)
    if name == "adobe-rgb":
        return linear ** (256 / 563)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def moved(source: str, target: str, numbers: NDArray[np.floating]) -> NDArray[np.float64]:
    """Linear light of the target, not clipped."""
    matrix = np.linalg.solve(linear_to_xyz(target), linear_to_xyz(source))
    return np.asarray(decode(source, numbers) @ matrix.T)


def as_image(values: NDArray[np.floating]) -> pyvips.Image:
    height, width, bands = values.shape
    return pyvips.Image.new_from_memory(
        np.ascontiguousarray(values, dtype=np.float32), width, height, bands, "float"
    )


def as_array(image: pyvips.Image) -> NDArray[np.float32]:
    assert (image.format, image.bands) == ("float", 3)
    return np.asarray(image.numpy())


def colours() -> NDArray[np.float64]:
    """A cube of 17 steps a side, and as many random colours, most of them dark."""
    steps = np.linspace(0, 1, 17)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(17, -1, 3)
    dark = np.random.default_rng(3).random((17, 17 * 17, 3)) ** 3
    return np.concatenate([cube, dark])


def test_srgb_is_the_identity() -> None:
    values = np.random.default_rng(1).normal(0.5, 1, (9, 7, 3)).astype(np.float32)
    for intent in INTENTS:
        found = converted(as_image(values), load_profile("srgb"), intent)
        assert as_array(found).tobytes() == values.tobytes()


@pytest.mark.parametrize("intent", INTENTS)
@pytest.mark.parametrize("name", ["display-p3", "adobe-rgb"])
def test_named_profiles_follow_the_published_numbers(name: str, intent: Intent) -> None:
    found = as_array(converted(as_image(colours()), load_profile(name), intent))
    linear = moved("srgb", name, colours()).clip(0, 1)
    # Profiles round their matrix, and that of sRGB has four digits: in linear light 0.0005 for all colours.
    np.testing.assert_allclose(decode(name, found), linear, atol=LINEAR_TOLERANCE)
    bright = linear.min(axis=-1) > 0.2
    np.testing.assert_allclose(found[bright], encode(name, linear)[bright], atol=1e-3)


@pytest.mark.parametrize("name", ["display-p3", "adobe-rgb"])
def test_named_profiles_follow_their_own_matrix(name: str) -> None:
    """Closer than the published numbers, which profiles round to 16 bits after the point."""
    profiles = [
        ImageCms.ImageCmsProfile(io.BytesIO(load_profile(each).data)).profile for each in ("srgb", name)
    ]
    matrices = []
    for profile in profiles:
        columns = [getattr(profile, f"{colour}_colorant")[0] for colour in ("red", "green", "blue")]
        matrices.append(np.array(columns).T)
    linear = decode("srgb", colours()) @ np.linalg.solve(matrices[1], matrices[0]).T
    found = as_array(converted(as_image(colours()), load_profile(name), "relative"))
    np.testing.assert_allclose(found, encode(name, linear), atol=5e-4)


@pytest.mark.parametrize("intent", INTENTS)
@pytest.mark.parametrize("name", PROFILE_NAMES)
def test_littlecms_agrees(name: str, intent: Intent) -> None:
    numbers = np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    expected = ImageCms.profileToProfile(
        Image.fromarray(numbers),
        ImageCms.ImageCmsProfile(io.BytesIO(load_profile("srgb").data)),
        ImageCms.ImageCmsProfile(io.BytesIO(load_profile(name).data)),
        renderingIntent=PILLOWS[intent],
    )
    assert expected is not None
    found = as_array(converted(as_image(numbers / 255), load_profile(name), intent))
    # Pillow rounds to 8 bits, and LittleCMS' arithmetic for 8 bits is coarse in the dark of a pure gamma.
    difference = np.abs(found - np.asarray(expected) / 255)
    assert np.quantile(difference, 0.99) < 0.75 / 255
    assert difference.max() < 5 / 255


@settings(deadline=None, max_examples=40)
@given(st.floats(-0.25, 1.25, width=32), st.sampled_from(["display-p3", "adobe-rgb"]))
def test_grey_stays_grey_and_is_clipped(value: float, name: str) -> None:
    found = as_array(converted(as_image(np.full((1, 1, 3), value)), load_profile(name), "relative"))
    clipped = np.full(3, min(max(value, 0), 1))
    np.testing.assert_allclose(found[0, 0], encode(name, decode("srgb", clipped)), atol=4e-4)


def test_wider_spaces_need_less_of_their_numbers() -> None:
    red = as_array(converted(as_image(np.array([[[1.0, 0, 0]]])), load_profile("display-p3"), "relative"))
    np.testing.assert_allclose(red[0, 0] * 255, [234, 51, 35], atol=1.1)  # a well-known figure


@pytest.mark.parametrize("name", PROFILE_NAMES)
def test_what_is_converted_and_embedded_comes_back(tmp_path: Path, name: str) -> None:
    """16 bits: within a third of a step of 8 bits, for colours of sRGB that the profile has."""
    values = colours()
    profile = load_profile(name)
    picture = tagged(quantised(converted(as_image(values), profile, "relative"), 65535), profile)
    picture.tiffsave(str(tmp_path / "out.tif"), keep="icc")
    with Image.open(tmp_path / "out.tif") as reopened:
        assert reopened.info["icc_profile"] == profile.data
    info = inspect(tmp_path / "out.tif", "content")
    check_decodes(info)
    found = as_array(open_srgb(info))
    np.testing.assert_allclose(found, values, atol=1.5 / 255)  # primaries lie on the edge, and are clipped
    inside = moved("srgb", name, values).min(axis=-1) > 1e-3
    assert inside.mean() > 0.6
    np.testing.assert_allclose(found[inside], values[inside], atol=0.33 / 255)


@pytest.mark.parametrize("name", PROFILE_NAMES)
def test_8_bit_files_come_back_to_their_own_numbers(tmp_path: Path, name: str) -> None:
    """What a file holds becomes sRGB and its own numbers again: within 1 of 255, in fact exactly."""
    numbers = np.random.default_rng(4).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    linear = moved(name, "srgb", numbers / 255)
    inside = (linear.min(axis=-1) > 1e-3) & (linear.max(axis=-1) < 1 - 1e-3)
    assert inside.mean() > 0.3
    profile = load_profile(name)
    Image.fromarray(numbers).save(tmp_path / "in.png", icc_profile=profile.data)
    opened = open_srgb(inspect(tmp_path / "in.png", "content")).copy_memory()
    # Against the published numbers and not this program's: what the file means.
    found = decode("srgb", as_array(opened))
    np.testing.assert_allclose(found[inside], linear[inside], atol=LINEAR_TOLERANCE)
    again = quantised(converted(opened, profile, "relative"), 255).numpy()
    np.testing.assert_array_equal(again[inside], numbers[inside])


def lut_profile(paper: tuple[float, float, float], bits: bytes = b"RGB ") -> bytes:
    """A printer's profile (ICC.1:2022, 10.11, lut8Type) whose tables do nothing, in CIELab."""
    grid, channels = 2, 3
    steps = np.array([0, 255], np.uint8)
    table = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).tobytes()
    identity = struct.pack(">9i", *(65536, 0, 0, 0, 65536, 0, 0, 0, 65536))
    ramp = bytes(range(256)) * channels
    lut = b"mft1" + bytes(4) + bytes((channels, channels, grid, 0)) + identity + ramp + table + ramp
    white = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in paper))
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"Test\0" + bytes(78)
    tags = {b"desc": text, b"wtpt": white, b"A2B0": lut, b"B2A0": lut}
    start, body, index = 128 + 4 + 12 * len(tags), b"", struct.pack(">I", len(tags))
    for name, value in tags.items():
        index += struct.pack(">4sII", name, start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"test", 0x02100000, b"prtr", bits, b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + index + body


def test_tables_are_followed_and_paper_is_white_or_not(tmp_path: Path) -> None:
    """The table's numbers are CIELab's, so white is (1, a = 0, b = 0); on paper of 125% it is L 91.7."""
    (tmp_path / "printer.icc").write_bytes(lut_profile((0.9642 * 1.25, 1.25, 0.8249 * 1.25)))
    profile = load_profile(tmp_path / "printer.icc")
    assert profile.description == "Test"
    white = as_image(np.ones((1, 1, 3)))
    relative, absolute = (
        as_array(converted(white, profile, intent))[0, 0] for intent in ("relative", "absolute")
    )
    np.testing.assert_allclose(relative, [1, 128 / 255, 128 / 255], atol=2e-3)
    np.testing.assert_allclose(absolute, [0.917, 128 / 255, 128 / 255], atol=3e-3)


def test_names_and_descriptions(tmp_path: Path) -> None:
    assert [load_profile(name).name for name in PROFILE_NAMES] == list(PROFILE_NAMES)
    assert load_profile("adobe-rgb").description == "Compatible with Adobe RGB (1998)"
    (tmp_path / "own.icc").write_bytes(load_profile("display-p3").data)
    found = load_profile(tmp_path / "own.icc")
    assert found.name == str(tmp_path / "own.icc")
    assert found.data == load_profile("display-p3").data


def refusal(path: Path | str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load_profile(path)
    return str(caught.value)


def test_the_script_writes_the_profile_of_display_p3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = runpy.run_path(str(SCRIPT), run_name="make_display_p3")
    monkeypatch.setitem(names["main"].__globals__, "TARGET", tmp_path / "p3.icc")
    names["main"]()
    assert (tmp_path / "p3.icc").read_bytes() == load_profile("display-p3").data


def test_what_is_no_profile_for_rgb_is_refused(tmp_path: Path) -> None:
    good = bytearray(load_profile("adobe-rgb").data)
    path = tmp_path / "profile.icc"
    assert "does not exist" in refusal(path)
    assert "is a folder" in refusal(tmp_path)
    path.write_bytes(b"")
    assert "must be an ICC profile" in refusal(path)
    path.write_bytes(b"\x89PNG" * 100)
    assert "must be an ICC profile" in refusal(path)
    path.write_bytes(good[:400])
    assert "cut short" in refusal(path)
    path.write_bytes(bytes(pyvips.Operation.call("profile_load", "cmyk")))
    assert "must be a profile for RGB, but" in refusal(path)
    assert "is one for CMYK" in refusal(path)
    path.write_bytes(good[:12] + b"link" + good[16:])
    assert "links devices" in refusal(path)
    path.write_bytes(good[:36] + b"acsp" + bytes(len(good) - 40))
    assert "damaged or lacks" in refusal(path)
    with path.open("wb") as file:
        file.truncate(MAX_PROFILE_BYTES + 1)
    assert "at most 16 MiB" in refusal(path)
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in refusal(tmp_path / "pipe")


def test_damaged_profiles_are_refused_or_convert(tmp_path: Path) -> None:
    """Flipped bytes everywhere: a sentence, or a picture of finite numbers; never another error."""
    values = as_image(np.random.default_rng(6).random((3, 3, 3)))
    random = np.random.default_rng(5)
    path = tmp_path / "profile.icc"
    sentences: list[str] = []
    for data in (load_profile("adobe-rgb").data, lut_profile((0.9, 0.95, 0.7))):
        for _ in range(40):
            damaged = bytearray(data)
            for place in random.integers(
                0, len(data) if random.random() < 0.5 else 300, random.integers(1, 6)
            ):
                damaged[place] = random.integers(0, 256)
            path.write_bytes(damaged)
            try:
                profile = load_profile(path)
            except ValueError as error:
                sentences.append(str(error))
                continue
            assert profile.description.isprintable()
            for intent in ("relative", "absolute"):
                found = as_array(converted(values, profile, intent))
                assert np.isfinite(found).all()
    assert 10 < len(sentences) < 70
    assert not [text for text in sentences if "\n" in text or "profile" not in text]
