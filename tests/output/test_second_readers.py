"""Every form of file as programs read it that are none of ours: libvips' and ImageMagick's, and exiftool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tilefarm.geometry import Size
from tilefarm.output.write import write_output
from tilefarm.output.zstd_tiff import missing_zstd
from tilefarm.spec.file_form import FileForm

SIZE = Size(600, 530)
DPI = 240
TIFF = FileForm("tiff", 16, DPI)
FORMS: dict[str, tuple[FileForm, bool]] = {
    "deflate16.tif": (TIFF, False),
    "deflate8.tif": (replace(TIFF, bit_depth=8, dither=True), False),
    "lzw16.tif": (replace(TIFF, compression="lzw"), False),
    "lzw8-strips.tif": (replace(TIFF, compression="lzw", bit_depth=8, tiled=False), False),
    "plain16.tif": (replace(TIFF, compression="none"), False),
    "plain16-strips.tif": (replace(TIFF, compression="none", tiled=False), False),
    "alpha16.tif": (TIFF, True),
    "alpha8-lzw.tif": (replace(TIFF, compression="lzw", bit_depth=8), True),
    "pyramid16.tif": (replace(TIFF, pyramid=True), False),
    "pyramid8-lzw-alpha.tif": (replace(TIFF, pyramid=True, compression="lzw", bit_depth=8), True),
    "adobe16.tif": (replace(TIFF, profile="adobe-rgb"), False),
    "p3.png": (FileForm("png", 8, DPI, profile="display-p3"), False),
    "a16.png": (FileForm("png", 16, DPI), True),
    "a.jpg": (FileForm("jpeg", 8, DPI, dither=True), False),
    "adobe.jpg": (FileForm("jpeg", 8, DPI, profile="adobe-rgb", quality=80), False),
    "a.webp": (FileForm("webp", 8, DPI), False),
    "lossless-alpha.webp": (FileForm("webp", 8, DPI, profile="display-p3", lossless=True), True),
} | ({"zstd16.tif": (replace(TIFF, compression="zstd"), True)} if missing_zstd() is None else {})
COMPRESSIONS = {"deflate": 8, "lzw": 5, "none": 1, "zstd": 50000}


@dataclass(frozen=True)
class Files:
    """One file of each form, with what its pixels were."""

    folder: Path
    picture: Any
    alpha: Any

    @property
    def paths(self) -> list[str]:
        return [str(self.folder / name) for name in FORMS]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("forms")
    y, x = np.mgrid[0 : SIZE.height, 0 : SIZE.width].astype("<f4")
    picture = np.stack([x / SIZE.width, y / SIZE.height, 0.5 + 0.4 * np.sin(x / 40)], axis=2).astype("<f4")
    alpha = np.repeat((x / SIZE.width)[..., None], 3, axis=2).astype("<f4")
    picture.tofile(folder / "canvas.raw")
    alpha.tofile(folder / "alpha.raw")
    for name, (form, has_alpha) in FORMS.items():
        clear = folder / "alpha.raw" if has_alpha else None
        write_output(folder / "canvas.raw", SIZE, folder / name, form, clear)
    return Files(folder, picture, alpha)


def said_by(*command: str) -> str:
    """What a program prints. Skips the test where there is no such program."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: scripts/system_packages.sh")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def each(check: Callable[[str, FileForm, bool], None]) -> None:
    for name, (form, has_alpha) in FORMS.items():
        check(name, form, has_alpha)


def test_exiftool(files: Files) -> None:
    said = said_by("exiftool", "-json", "-n", "-G1", "-a", *files.paths)
    found = {Path(each["SourceFile"]).name: each for each in json.loads(said)}

    def check(name: str, form: FileForm, has_alpha: bool) -> None:
        tags = found[name]
        values = {key.partition(":")[2]: value for key, value in reversed(tags.items())}
        assert (values["ImageWidth"], values["ImageHeight"]) == (SIZE.width, SIZE.height), name
        if form.format == "png":
            assert values["PixelsPerUnitX"] == values["PixelsPerUnitY"] == round(DPI / 0.0254)
        else:
            assert (values["XResolution"], values["YResolution"], values["ResolutionUnit"]) == (DPI, DPI, 2)
            assert values.get("Orientation", 1) == 1
        names = {"srgb": "sRGB", "display-p3": "P3", "adobe-rgb": "Adobe|A98C|opRGB"}
        described = values.get("ProfileDescription", "")
        assert re.search(names[form.profile], described) or form.profile == "srgb", (name, described)
        assert described, name
        if form.format == "tiff":
            check_tiff(tags, form, has_alpha)
        elif form.format == "jpeg":
            assert values["YCbCrSubSampling"] == "1 1", "colour at full resolution"
        elif form.format == "png":
            assert values["BitDepth"] == form.bit_depth
            assert values["ColorType"] == (6 if has_alpha else 2)

    each(check)


def check_tiff(tags: dict[str, Any], form: FileForm, has_alpha: bool) -> None:
    channels = 4 if has_alpha else 3
    assert tags["IFD0:BitsPerSample"] == " ".join([str(form.bit_depth)] * channels)
    assert tags["IFD0:Compression"] == COMPRESSIONS[form.compression]
    assert tags["IFD0:PhotometricInterpretation"] == 2
    assert tags["IFD0:SamplesPerPixel"] == channels
    assert ("IFD0:TileWidth" in tags) == form.tiled
    assert ("IFD0:StripOffsets" in tags) != form.tiled
    assert (tags.get("IFD0:Predictor", 1) == 2) == (form.compression != "none")
    if has_alpha:
        assert tags["IFD0:ExtraSamples"] == 2, "not multiplied with the colours"
    smaller = {key.split(":")[0] for key in tags if re.match(r"SubIFD\d*:", key)}
    assert len(smaller) == (2 if form.pyramid else 0), "600x530, 300x265, 150x132"
    assert not any(key.startswith("IFD1:") for key in tags), "one picture, not many pages"


def test_imagemagick(files: Files) -> None:
    form = "%f|%w|%h|%z|%C|%[channels]|%x|%y|%U|%[profile:icc]|%[orientation]\n"
    lines = said_by("identify", "-format", form, *files.paths).splitlines()
    assert len(lines) == len(FORMS), "one picture in each file"
    compressions = {"deflate": "Zip", "lzw": "LZW", "none": "None", "zstd": "Zstd"}
    for line in lines:
        name, width, height, bits, packed, channels, across, down, unit, profile, turned = line.split("|")
        wanted, has_alpha = FORMS[name]
        assert (int(width), int(height)) == (SIZE.width, SIZE.height)
        assert int(bits) == wanted.bit_depth
        assert channels.strip().startswith("srgba" if has_alpha else "srgb")
        assert channels.strip().startswith("srgba") == has_alpha
        if wanted.format == "tiff":
            assert packed == compressions[wanted.compression]
        if wanted.format != "webp":  # whose EXIF it does not look at
            scale = 2.54 if unit == "PixelsPerCentimeter" else 1.0
            assert [float(across) * scale, float(down) * scale] == pytest.approx([DPI, DPI], abs=0.1)
        assert profile, name
        assert turned in ("TopLeft", "Undefined")


def test_debians_libvips(files: Files) -> None:
    lines = said_by("vipsheader", *files.paths).splitlines()
    assert len(lines) == len(FORMS)
    for line, (name, (form, has_alpha)) in zip(lines, FORMS.items(), strict=True):
        assert f"{name}: {SIZE} {'ushort' if form.bit_depth == 16 else 'uchar'}, " in line
        assert f" {4 if has_alpha else 3} bands, " in line


def test_the_pixels(files: Files) -> None:
    """As ImageMagick decodes them, from what are sRGB numbers: joined into one raw stream."""
    names = [name for name, (form, _) in FORMS.items() if form.profile == "srgb"]
    command = ["convert", *(str(files.folder / name) for name in names), "-depth", "16"]
    raw = files.folder / "pixels.rgba"
    said_by(*command, "-endian", "LSB", f"RGBA:{raw}")
    shape = (len(names), SIZE.height, SIZE.width, 4)
    found = np.fromfile(raw, "<u2").reshape(shape) / 65535
    for name, pixels in zip(names, found, strict=True):
        form, has_alpha = FORMS[name]
        lossy = form.format in ("jpeg", "webp") and not form.lossless
        near = 0.05 if lossy else (1.6 if form.dither else 0.51) / (2**form.bit_depth - 1)
        assert np.abs(pixels[..., :3] - files.picture).max() < near, name
        wanted = files.alpha[..., 0] if has_alpha else 1.0
        assert np.abs(pixels[..., 3] - wanted).max() < 0.51 / (2**form.bit_depth - 1), name


def test_pillow(files: Files) -> None:
    with Image.open(files.folder / "deflate8.tif") as image:
        assert np.abs(np.asarray(image) / 255 - files.picture).max() < 1.6 / 255
    with Image.open(files.folder / "lossless-alpha.webp") as image:
        assert (image.mode, image.size) == ("RGBA", (SIZE.width, SIZE.height))
