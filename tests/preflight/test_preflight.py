"""`tilefarm check`: facts that other readers confirm, and findings that a print shop would have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.delivered import exiftool, write_job
from tests.program import Command
from tilefarm.geometry import Size
from tilefarm.image.profiles import load_profile
from tilefarm.output.write import write_output
from tilefarm.preflight.facts import read_facts
from tilefarm.preflight.report import Report, examine_file, report_lines
from tilefarm.preflight.wish import Wish, parse_wish
from tilefarm.spec.file_form import FileForm

SMALL = Size(90, 60)
SRGB = load_profile("srgb").data


def gradient(width: int = 90, height: int = 60) -> pyvips.Image:
    values = np.indices((height, width)).sum(axis=0)[..., None] % 256 + np.zeros(3)
    return pyvips.Image.new_from_array(values.astype(np.uint8)).copy(interpretation="srgb")


def with_profile(image: pyvips.Image, data: bytes) -> pyvips.Image:
    image = image.copy()
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", data)
    return image


def good_tiff(path: Path, dpi: float = 300, size: Size = SMALL, **form: Any) -> Path:
    """A file as a lab wants it, by our own writer."""
    canvas = path.with_suffix(".f32")
    np.linspace(0, 1, size.pixels * 3, dtype=np.float32).tofile(canvas)
    keys: dict[str, Any] = {"bit_depth": 8, "compression": "lzw", "tiled": False} | form
    write_output(canvas, size, path, FileForm("tiff", dpi=dpi, **keys))
    return path


def levels(report: Report, *words: str) -> list[str]:
    """The levels of the findings that have these words."""
    return [one.level for one in report.findings if all(word in one.text for word in words)]


def wish(purpose: str | None = None, width: str = "", height: str = "", bleed: str = "0mm") -> Wish:
    paper = {"width": width, "height": height, "bleed": bleed} if width else None
    return parse_wish(purpose, paper)


FILES: dict[str, Callable[[Path], object]] = {
    "deflate.tif": lambda path: good_tiff(path, 240, bit_depth=16, compression="deflate", tiled=True),
    "pyramid.tif": lambda path: good_tiff(path, 240, Size(600, 400), tiled=True, pyramid=True),
    "film.gif": lambda path: Image.new("P", (31, 17)).save(path),
    "fax.tif": lambda path: Image.new("1", (31, 17)).save(path, compression="group4", dpi=(200, 200)),
    "plain.png": lambda path: Image.new("RGB", (31, 17)).save(path, dpi=(120, 120)),
    "alpha.png": lambda path: Image.new("RGBA", (31, 17)).save(path),
    "grey.png": lambda path: Image.new("L", (31, 17)).save(path),
    "turned.jpg": lambda path: _turned(path),
    "progressive.jpg": lambda path: gradient().jpegsave(str(path), interlace=True, subsample_mode="on"),
    "cmyk.jpg": lambda path: Image.new("CMYK", (31, 17)).save(path, dpi=(200, 200)),
    "uneven.tif": lambda path: tifffile.imwrite(
        path, np.zeros((17, 31, 3), np.uint8), photometric="rgb", resolution=(100, 50), resolutionunit="INCH"
    ),
    "metric.tif": lambda path: tifffile.imwrite(
        path,
        np.zeros((17, 31, 3), np.uint8),
        photometric="rgb",
        resolution=(100, 100),
        resolutionunit="CENTIMETER",
        bigtiff=True,
    ),
    "lossless.webp": lambda path: gradient().webpsave(str(path), lossless=True),
    "lossy.webp": lambda path: with_profile(gradient(), SRGB).webpsave(str(path)),
}


def _turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (31, 17)).save(path, exif=exif, dpi=(72, 72))


@pytest.mark.parametrize("name", FILES)
def test_facts_are_those_that_exiftool_sees(tmp_path: Path, name: str) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    path = tmp_path / name
    FILES[name](path)
    facts = read_facts(path)
    [seen] = json.loads(exiftool(path, "-json", "-n"))
    [jfif] = json.loads(exiftool(path, "-json", "-n", "-G1", "-JFIF:all"))  # counts units from 1
    stored = Size(facts.size.height, facts.size.width) if facts.orientation >= 5 else facts.size
    assert [stored.width, stored.height] == [seen["ImageWidth"], seen["ImageHeight"]]
    assert facts.orientation == seen.get("Orientation", 1)
    unit = seen.get("ResolutionUnit", 0) + jfif.get("JFIF:ResolutionUnit", 0)
    if "XResolution" in seen and unit in (2, 3):
        scale = 2.54 if unit == 3 else 1
        assert facts.dpi == pytest.approx(
            (seen["XResolution"] * scale, seen["YResolution"] * scale), rel=1e-3
        )
    elif "PixelsPerUnitX" in seen:
        assert facts.dpi == pytest.approx((seen["PixelsPerUnitX"] * 0.0254,) * 2, rel=1e-3)
    else:
        assert facts.dpi is None
    if "BitsPerSample" in seen:
        assert facts.bits == int(str(seen["BitsPerSample"]).split()[0])
    assert (facts.profile is None) == ("ProfileDescription" not in seen)
    channels = {"grey": 1, "RGB": 3, "CMYK": 4}[facts.model] + facts.alpha
    expected = seen.get("SamplesPerPixel") or seen.get("ColorComponents")
    if expected is not None:
        assert channels == expected
    elif "ColorType" in seen:
        assert channels == {0: 1, 2: 3, 4: 2, 6: 4}[seen["ColorType"]]


@pytest.mark.parametrize(
    ("name", "compression", "layout"),
    [
        ("deflate.tif", "deflate", ("tiles",)),
        ("pyramid.tif", "LZW", ("tiles", "pyramid")),
        ("metric.tif", "none", ("BigTIFF", "strips")),
        ("plain.png", "deflate", ()),
        ("progressive.jpg", "DCT", ("progressive", "4:2:0")),
        ("film.gif", "LZW", ("interlaced",)),
        ("fax.tif", "fax group 4", ("strips",)),
        ("lossless.webp", "lossless", ()),
        ("lossy.webp", "lossy", ()),
    ],
)
def test_how_pixels_are_stored(tmp_path: Path, name: str, compression: str, layout: tuple[str, ...]) -> None:
    FILES[name](tmp_path / name)
    facts = read_facts(tmp_path / name)
    assert (facts.compression, facts.layout) == (compression, layout)


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_tiff_without_a_resolution_states_none(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (31, 17)).save(tmp_path / "plain.tif")
    assert read_facts(tmp_path / "plain.tif").dpi is None
    found = examine_file(tmp_path / "plain.tif", wish())
    assert levels(found, "says no resolution") == ["warning"]
    assert not levels(found, "dpi")


def test_a_good_file_has_no_fault(tmp_path: Path) -> None:
    path = good_tiff(tmp_path / "good.tif", size=Size(900, 600))
    report = examine_file(path, wish("lab-srgb", "3in", "2in"))
    assert {one.level for one in report.findings} == {"ok"}
    assert report.good
    text = "\n".join(report_lines(report))
    for words in ("TIFF, LZW, strips", "900x600", "7.62 x 5.08 cm at 300 dpi", "RGB, 8 bits", "sRGB"):
        assert words in text


@pytest.mark.parametrize(
    ("make", "asked", "words", "level"),
    [
        ("plain.png", wish(), ("no colour profile",), "warning"),
        ("plain.png", wish("web"), ("no colour profile",), "problem"),
        ("plain.png", wish("lab-srgb"), ("PNG", "TIFF or JPEG"), "problem"),
        ("alpha.png", wish(), ("transparency",), "warning"),
        ("alpha.png", wish("poster"), ("transparency",), "problem"),
        ("alpha.png", wish(), ("no resolution",), "warning"),
        ("turned.jpg", wish(), ("orientation 6",), "warning"),
        ("turned.jpg", wish(), ("72 dpi", "less than 150"), "problem"),
        ("cmyk.jpg", wish(), ("CMYK",), "warning"),
        ("cmyk.jpg", wish("lab-srgb"), ("CMYK",), "problem"),
        ("cmyk.jpg", wish("poster"), ("200 dpi",), "ok"),
        ("cmyk.jpg", wish("lab-srgb"), ("200 dpi", "less than 300"), "warning"),
        ("uneven.tif", wish(), ("100 dpi across", "50 dpi down"), "warning"),
        ("deflate.tif", wish("lab-srgb"), ("16 bits", "asks for 8"), "problem"),
        ("deflate.tif", wish("lab-adobe"), ("profile sRGB", "adobe-rgb"), "problem"),
        ("deflate.tif", wish("lab-srgb"), ("deflate", "asks for lzw"), "warning"),
        ("deflate.tif", wish("archive"), ("16 bits",), "ok"),
        ("pyramid.tif", wish("poster"), ("pyramid", "older programs"), "warning"),
        ("progressive.jpg", wish("lab-srgb"), ("progressive", "older programs"), "warning"),
        ("progressive.jpg", wish("lab-srgb"), ("coarser than brightness",), "warning"),
        ("lossy.webp", wish(), ("WebP", "few print shops"), "warning"),
        ("lossy.webp", wish("web"), ("WebP",), "ok"),
        ("deflate.tif", wish(None, "9mm", "6mm"), ("254 dpi on 9mm x 6mm",), "warning"),
        ("deflate.tif", wish(None, "9cm", "6cm"), ("25 dpi", "pixels are seen"), "problem"),
        ("deflate.tif", wish(None, "4cm", "4cm"), ("shape is 1.500:1", "1.000:1"), "problem"),
        ("deflate.tif", wish(None, "9mm", "6mm"), ("has the shape of",), "ok"),
        ("deflate.tif", wish(None, "9cm", "6cm"), ("says itself", "1.0 x 0.6 cm"), "warning"),
    ],
)
def test_findings(tmp_path: Path, make: str, asked: Wish, words: tuple[str, ...], level: str) -> None:
    FILES[make](tmp_path / make)
    assert levels(examine_file(tmp_path / make, asked), *words) == [level]


def test_a_foreign_profile_and_one_that_does_not_fit(tmp_path: Path) -> None:
    adobe = load_profile("adobe-rgb").data
    with_profile(gradient(), adobe).tiffsave(str(tmp_path / "a.tif"), compression="lzw", keep="icc")
    facts = read_facts(tmp_path / "a.tif")
    assert (facts.profile_name, facts.profile_fits) == ("adobe-rgb", True)
    Image.new("L", (8, 8)).save(tmp_path / "grey.tif", icc_profile=SRGB)
    report = examine_file(tmp_path / "grey.tif", wish())
    assert levels(report, "is not one for grey") == ["problem"]
    Image.new("RGB", (8, 8)).save(tmp_path / "broken.tif", icc_profile=b"\0" * 200)
    report = examine_file(tmp_path / "broken.tif", wish())
    assert levels(report, "a profile that cannot be read, is not one for RGB") == ["problem"]


@pytest.mark.parametrize("dpi", [149, 150, 199, 200, 299, 300])
def test_the_limits_of_resolution(tmp_path: Path, dpi: int) -> None:
    path = good_tiff(tmp_path / "a.tif", dpi)
    expected = "ok" if dpi >= 300 * 0.995 else "warning" if dpi >= 150 * 0.995 else "problem"
    assert levels(examine_file(path, wish()), f"{dpi} dpi") == [expected]


@pytest.mark.parametrize("name", ["good.tif", "plain.png", "progressive.jpg", "lossy.webp"])
def test_damage_is_a_problem_and_no_traceback(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in FILES:
        FILES[name](path)
    else:
        good_tiff(path, size=Size(200, 150))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    report = examine_file(path, wish())
    assert not report.good
    assert report.facts is None
    assert str(path) in report.findings[0].text


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255), st.sampled_from(sorted(FILES)))
def test_flipped_bytes_end_in_a_report(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, name: str
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    FILES[name](folder / name)
    data = bytearray((folder / name).read_bytes())
    data[at % len(data)] = value
    (folder / name).write_bytes(data)
    report = examine_file(folder / name, wish("lab-srgb", "4cm", "3cm", "2mm"))
    assert list(report_lines(report))


def test_a_print_with_bleed_from_the_job_to_the_check(tilefarm_command: Command, tmp_path: Path) -> None:
    paper = "print: {width: 10mm, height: 7mm, bleed: 1mm, dpi: 300}"
    write_job(tmp_path, f"path: out.tif, preset: lab-srgb, {paper}")
    assert tilefarm_command("submit", "gate.yaml").code == 0
    answer = tilefarm_command("check", "out.tif", "--for", "lab-srgb", "--print", "10x7mm", "--bleed", "1mm")
    assert (answer.code, answer.err) == (0, "")
    assert "warning" not in answer.out
    assert "118x83 without a bleed of 12, 11, 12, 12 pixels" in answer.out
    assert "made for     10mm x 7mm, bleed 1mm" in answer.out
    assert "ok       bleed of 1mm" in answer.out
    answer = tilefarm_command("check", "out.tif", "--print", "12x9mm")
    assert "more bleed than 0mm" in answer.out


def test_the_command_for_programs(tilefarm_command: Command, tmp_path: Path) -> None:
    FILES["turned.jpg"](tmp_path / "turned.jpg")
    answer = tilefarm_command("check", "turned.jpg", "--json")
    assert answer.code == 2
    record = json.loads(answer.out)
    assert (record["good"], record["facts"]["width"], record["facts"]["height"]) == (False, 17, 31)
    assert record["facts"]["orientation"] == 6
    assert {finding["level"] for finding in record["findings"]} == {"ok", "warning", "problem"}
    answer = tilefarm_command("check", "nowhere.tif", "--json")
    assert answer.code == 2
    assert json.loads(answer.out)["facts"] is None
    answer = tilefarm_command("check", "turned.jpg", "--for", "laab-srgb", "--print", "4x3", "--bleed", "x")
    assert answer.code == 2
    assert "did you mean 'lab-srgb'" in answer.err
