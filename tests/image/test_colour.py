"""Every kind of colour that a file can hold, against Pillow's colour management or exact values."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tilefarm.image.decode import check_decodes, inspect, open_srgb

CMS_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


def decoded(path: Path) -> NDArray[np.float32]:
    info = inspect(path, "content")
    check_decodes(info)
    image = open_srgb(info)
    assert (image.bands, image.format) == (3, "float")
    values: NDArray[np.float32] = image.numpy()
    assert values.min() >= 0
    assert values.max() <= 1
    return values


def profile(name: str) -> bytes:
    return bytes(pyvips.Operation.call("profile_load", name))


def colours(channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (12, 17, channels), dtype=np.uint8)


def through_pillow(image: Image.Image, source: bytes) -> NDArray[np.float64]:
    """Relative colorimetric with black point compensation, in 8 bits, by LittleCMS through Pillow."""
    converted = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(source)),
        ImageCms.ImageCmsProfile(io.BytesIO(profile("srgb"))),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=CMS_FLAGS,
    )
    assert converted is not None
    return np.asarray(converted) / 255


def test_8_bit_rgb_is_exact(tmp_path: Path) -> None:
    values = colours()
    Image.fromarray(values).save(tmp_path / "rgb.png")
    np.testing.assert_allclose(decoded(tmp_path / "rgb.png"), values / 255, atol=1e-7)


def test_an_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    values = colours()
    Image.fromarray(values).save(tmp_path / "rgb.png", icc_profile=profile("srgb"))
    np.testing.assert_allclose(decoded(tmp_path / "rgb.png"), values / 255, atol=2 / 65535)


def test_16_bit_rgb_keeps_its_precision(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (9, 8, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", values, photometric="rgb", metadata=None)
    np.testing.assert_array_equal(np.rint(decoded(tmp_path / "deep.tif") * 65535), values)


def test_16_bit_grey_keeps_its_precision(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (9, 8), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    found = np.rint(decoded(tmp_path / "grey.png") * 65535)
    np.testing.assert_array_equal(found, np.repeat(values[..., np.newaxis], 3, axis=2))


def test_10_bit_white_is_white(tmp_path: Path) -> None:
    white = pyvips.Image.black(64, 64, bands=3).linear(1, 65535).cast("ushort").copy(interpretation="rgb16")
    white.heifsave(str(tmp_path / "white.avif"), compression="av1", bitdepth=10, lossless=True)
    assert decoded(tmp_path / "white.avif").min() > 0.9995


def test_8_bit_grey_and_one_bit(tmp_path: Path) -> None:
    grey = Image.fromarray(colours(1)[..., 0])
    grey.save(tmp_path / "grey.png")
    np.testing.assert_allclose(decoded(tmp_path / "grey.png")[..., 2], np.asarray(grey) / 255, atol=1e-7)
    for name in ("bits.png", "bits.tif"):
        bits = grey.convert("1")
        bits.save(tmp_path / name)
        np.testing.assert_array_equal(decoded(tmp_path / name)[..., 1], np.asarray(bits).astype(float))


def test_inverted_grey(tmp_path: Path) -> None:
    values = colours(1)[..., 0]
    tifffile.imwrite(tmp_path / "fax.tif", values, photometric="miniswhite", metadata=None)
    np.testing.assert_allclose(decoded(tmp_path / "fax.tif")[..., 0], 1 - values / 255, atol=1e-6)


def test_alpha_shows_white_through(tmp_path: Path) -> None:
    values = colours(4)
    Image.fromarray(values, "RGBA").save(tmp_path / "rgba.png")
    colour, alpha = values[..., :3] / 255, values[..., 3:] / 255
    found = decoded(tmp_path / "rgba.png")
    np.testing.assert_allclose(found, colour * alpha + 1 - alpha, atol=1e-6)
    assert inspect(tmp_path / "rgba.png", "content").notes == ("alpha is flattened on white",)


def test_grey_with_alpha(tmp_path: Path) -> None:
    values = colours(2)
    Image.fromarray(values, "LA").save(tmp_path / "la.png")
    grey, alpha = values[..., :1] / 255, values[..., 1:] / 255
    expected = np.repeat(grey * alpha + 1 - alpha, 3, axis=2)
    np.testing.assert_allclose(decoded(tmp_path / "la.png"), expected, atol=1e-6)


def test_a_palette_with_a_transparent_entry(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "palette.png", transparency=1)
    expected = np.array([[[10, 20, 30], [255, 255, 255], [0, 0, 255]]]) / 255
    np.testing.assert_allclose(decoded(tmp_path / "palette.png"), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_floating_point_is_taken_as_it_is(tmp_path: Path, dtype: type[np.floating]) -> None:
    values = np.linspace(-0.2, 1.2, 60).reshape(4, 5, 3).astype(dtype)
    tifffile.imwrite(tmp_path / "float.tif", values, photometric="rgb", metadata=None)
    np.testing.assert_allclose(decoded(tmp_path / "float.tif"), values.clip(0, 1), atol=1e-6)
    assert "taken as sRGB" in inspect(tmp_path / "float.tif", "content").notes[0]


def test_32_bit_integers(tmp_path: Path) -> None:
    values = np.array([[[0, 2**31, 2**32 - 1]]], np.uint32)
    tifffile.imwrite(tmp_path / "deep.tif", values, photometric="rgb", metadata=None)
    np.testing.assert_allclose(decoded(tmp_path / "deep.tif"), [[[0, 0.5, 1]]], atol=1e-6)


def test_display_p3_is_converted(tmp_path: Path) -> None:
    image = Image.fromarray(colours())
    image.save(tmp_path / "p3.png", icc_profile=profile("p3"))
    found = decoded(tmp_path / "p3.png")
    np.testing.assert_allclose(found, through_pillow(image, profile("p3")), atol=1.1 / 255)
    assert np.abs(found - np.asarray(image) / 255).max() > 0.1


def test_display_p3_in_16_bits_is_converted_as_closely(tmp_path: Path) -> None:
    values = np.random.default_rng(5).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    deep = values.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "p3.tif", deep, photometric="rgb", iccprofile=profile("p3"), metadata=None)
    expected = through_pillow(Image.fromarray(values), profile("p3"))
    np.testing.assert_allclose(decoded(tmp_path / "p3.tif"), expected, atol=1.5 / 255)


def test_display_p3_in_16_bits_has_more_than_256_steps(tmp_path: Path) -> None:
    ramp = np.linspace(20_000, 40_000, 3000).astype(np.uint16)
    values = np.repeat(ramp[np.newaxis, :, np.newaxis], 3, axis=2)
    tifffile.imwrite(tmp_path / "p3.tif", values, photometric="rgb", iccprofile=profile("p3"), metadata=None)
    assert len(np.unique(decoded(tmp_path / "p3.tif")[..., 0])) > 2500


@pytest.mark.parametrize("with_profile", [True, False])
def test_cmyk_is_converted(tmp_path: Path, with_profile: bool) -> None:
    image = Image.fromarray(np.kron(colours(4)[:3, :4], np.ones((8, 8, 1), np.uint8)), "CMYK")
    path = tmp_path / "press.tif"
    image.save(path, icc_profile=profile("cmyk") if with_profile else None)
    found = decoded(path)
    np.testing.assert_allclose(found, through_pillow(image, profile("cmyk")), atol=2.1 / 255)
    assert inspect(path, "content").notes == ("CMYK is converted to sRGB",)


@pytest.mark.parametrize("adobe_marker", [True, False])
def test_cmyk_jpeg_is_the_right_way_round(tmp_path: Path, adobe_marker: bool) -> None:
    """JPEGs hold inverted ink, as Adobe began it, and readers expect it without its marker too."""
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    buffer = io.BytesIO()
    cyan.save(buffer, "JPEG", quality=100)
    data = buffer.getvalue()
    if not adobe_marker:
        start = data.index(b"\xff\xee")
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        data = data[:start] + data[start + 2 + length :]
    (tmp_path / "press.jpg").write_bytes(data)
    red, green, blue = decoded(tmp_path / "press.jpg")[8, 8]
    assert red < 0.3 < 0.5 < green < blue


def test_ink_without_any_is_white(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 0, 0, 0)).save(tmp_path / "paper.tif")
    assert decoded(tmp_path / "paper.tif").min() > 0.99


@pytest.mark.parametrize("data", [b"nonsense" * 30, profile("cmyk")])
def test_a_profile_that_does_not_fit_is_ignored_with_a_note(tmp_path: Path, data: bytes) -> None:
    values = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, values, photometric="rgb", iccprofile=data, metadata=None)
    np.testing.assert_allclose(decoded(path), values / 255, atol=1e-6)
    assert "ignored" in inspect(path, "content").notes[0]
