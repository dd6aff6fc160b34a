"""The validator finds every single thing that can be wrong with a written file."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from tilefarm.errors import TilefarmError
from tilefarm.geometry import Size
from tilefarm.image.colour import srgb_profile
from tilefarm.output.check import check_output
from tilefarm.output.write import write_output
from tilefarm.spec.file_form import FileForm, Format

SIZE = Size(290, 270)
Bits = Literal[8, 16]
KINDS: list[tuple[Format, Bits]] = [("tiff", 8), ("tiff", 16), ("png", 8), ("png", 16), ("jpeg", 8)]


def written(folder: Path, format: Format, bits: Bits) -> Path:
    values = np.random.default_rng(1).uniform(0, 1, (SIZE.height, SIZE.width, 3))
    values.astype("<f4").tofile(folder / "canvas.raw")
    target = folder / "out"
    write_output(folder / "canvas.raw", SIZE, target, FileForm(format, bits, 300))
    return target


@pytest.mark.parametrize(("format", "bits"), KINDS)
def test_what_differs_is_named(tmp_path: Path, format: Format, bits: Bits) -> None:
    path = written(tmp_path, format, bits)
    right = FileForm(format, bits, 300)
    check_output(path, SIZE, right)
    check_output(path, SIZE, replace(right, dpi=301))
    with pytest.raises(TilefarmError, match="size is 290x270, not 290x271"):
        check_output(path, Size(290, 271), right)
    if format != "jpeg":
        with pytest.raises(TilefarmError, match=rf"bits is \({bits}, {bits}, {bits}\)"):
            check_output(path, SIZE, replace(right, bit_depth=16 if bits == 8 else 8))
    with pytest.raises(TilefarmError, match=r"dpi is .*, not 303"):
        check_output(path, SIZE, replace(right, dpi=303))
    kind: Format = "png" if format != "png" else "tiff"
    with pytest.raises(TilefarmError, match=f"cannot open it as {kind.upper()}"):
        check_output(path, SIZE, replace(right, format=kind))


@pytest.mark.parametrize(("format", "bits"), KINDS)
@pytest.mark.parametrize("where", [0.3, 0.6, 0.97])
def test_broken_pixels_are_found(tmp_path: Path, format: Format, bits: Bits, where: float) -> None:
    """A stretch of zeros, and for JPEG, which has no checksums, a stretch of end markers."""
    path = written(tmp_path, format, bits)
    data = bytearray(path.read_bytes())
    start = int(len(data) * where)
    end = min(start + 400, len(data) - 20)
    data[start:end] = b"\xff\xd9" * ((end - start) // 2) if format == "jpeg" else bytes(end - start)
    path.write_bytes(bytes(data))
    with pytest.raises(TilefarmError, match="not as it should be"):
        check_output(path, SIZE, FileForm(format, bits, 300))


def test_one_flipped_bit_of_a_checksummed_format_is_found(tmp_path: Path) -> None:
    for format, bits in KINDS[:4]:
        path = written(tmp_path, format, bits)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(TilefarmError, match="do not decode"):
            check_output(path, SIZE, FileForm(format, bits, 300))


@pytest.mark.parametrize(("format", "bits"), KINDS)
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.95])
def test_cut_files_are_found(tmp_path: Path, format: Format, bits: Bits, kept: float) -> None:
    path = written(tmp_path, format, bits)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(TilefarmError, match="not as it should be"):
        check_output(path, SIZE, FileForm(format, bits, 300))


def test_other_channels_and_a_missing_profile_are_named(tmp_path: Path) -> None:
    path = tmp_path / "alpha.png"
    Image.new("RGBA", (5, 4)).save(path, dpi=(300, 300), icc_profile=srgb_profile())
    with pytest.raises(TilefarmError, match=r"channels is \('R', 'G', 'B', 'A'\)"):
        check_output(path, Size(5, 4), FileForm("png", 8, 300))
    Image.new("RGB", (5, 4)).save(path, dpi=(300, 300))
    with pytest.raises(TilefarmError, match="colour profile is missing, not srgb"):
        check_output(path, Size(5, 4), FileForm("png", 8, 300))


def test_pillows_limit_is_lifted_and_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "png", 8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_output(path, SIZE, FileForm("png", 8, 300))
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TilefarmError, match="Pillow cannot open it"):
        check_output(tmp_path / "none.png", SIZE, FileForm("png", 8, 300))
