"""What was written, as other libraries read it, and what is left when writing fails."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import pyvips
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tilefarm.errors import ResourceError, TilefarmError
from tilefarm.geometry import Size
from tilefarm.image.colour import srgb_profile
from tilefarm.image.decode import inspect, open_srgb
from tilefarm.output import encode as encoding
from tilefarm.output import write as module
from tilefarm.output.write import write_output
from tilefarm.spec.file_form import FileForm, Format

Bits = Literal[8, 16]
KINDS: list[tuple[Format, Bits]] = [("tiff", 8), ("tiff", 16), ("png", 8), ("png", 16), ("jpeg", 8)]
SIZE = Size(300, 270)  # more than one TIFF tile each way, and no multiple of a tile


def canvas(folder: Path, size: Size = SIZE, seed: int = 0) -> tuple[Path, NDArray[np.float32]]:
    """Noise that leaves 0..1 on both sides."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-0.2, 1.2, (size.height, size.width, 3)).astype("<f4")
    values.tofile(folder / "canvas.raw")
    return folder / "canvas.raw", values


def rounded(values: NDArray[np.float32], bits: int) -> NDArray[np.float64]:
    steps: NDArray[np.float64] = np.rint(values.clip(0, 1).astype(np.float64) * (2**bits - 1))
    return steps


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """Files may not grow beyond `limit` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_values(tmp_path: Path, bits: Bits) -> None:
    source, values = canvas(tmp_path)
    target = tmp_path / "out.tif"
    write_output(source, SIZE, target, FileForm("tiff", bits, 300))
    found = pyvips.Image.new_from_file(str(target)).numpy()
    assert found.dtype == f"uint{bits}"
    # A step may differ where float32 arithmetic puts a value on the other side of a half.
    assert np.abs(found - rounded(values, bits)).max() <= 1
    assert np.mean(found != rounded(values, bits)) < 0.01


@pytest.mark.parametrize("bits", [8, 16])
def test_png_values(tmp_path: Path, bits: Bits) -> None:
    source, values = canvas(tmp_path)
    target = tmp_path / "out.png"
    write_output(source, SIZE, target, FileForm("png", bits, 300))
    write_output(source, SIZE, tmp_path / "out.tif", FileForm("tiff", bits, 300))
    if bits == 8:
        with Image.open(target) as image:
            np.testing.assert_array_equal(np.asarray(image), rounded(values, 8))
    np.testing.assert_array_equal(
        pyvips.Image.new_from_file(str(target)).numpy(), tifffile.imread(tmp_path / "out.tif")
    )


def test_jpeg_values(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.linspace(-0.1, 1.1, SIZE.width), np.linspace(0, 1, SIZE.height))
    values = np.stack([x, y, 1 - x], axis=2).astype("<f4")
    values.tofile(tmp_path / "canvas.raw")
    write_output(tmp_path / "canvas.raw", SIZE, tmp_path / "o.jpg", FileForm("jpeg", 8, 300))
    with Image.open(tmp_path / "o.jpg") as image:
        assert np.abs(np.asarray(image) - rounded(values, 8)).max() <= 6
        layers = getattr(image, "layer")  # noqa: B009
    assert [layer[1:3] for layer in layers] == [(1, 1)] * 3, "colour is stored at full resolution"


@pytest.mark.parametrize(("format", "bits"), KINDS)
@pytest.mark.parametrize("dpi", [300.0, 72.0, 254.5])
def test_profile_resolution_and_size(tmp_path: Path, format: Format, bits: Bits, dpi: float) -> None:
    source, _ = canvas(tmp_path)
    target = tmp_path / "out"
    write_output(source, SIZE, target, FileForm(format, bits, dpi))
    with Image.open(target) as image:
        assert image.format == format.upper()
        assert image.size == (SIZE.width, SIZE.height)
        assert image.mode == "RGB"
        assert image.info["icc_profile"] == srgb_profile()
        assert [float(value) for value in image.info["dpi"]] == pytest.approx([dpi, dpi], rel=1e-3)


def test_tiff_is_tiled_compressed_and_without_a_date(tmp_path: Path) -> None:
    source, _ = canvas(tmp_path)
    write_output(source, SIZE, tmp_path / "out.tif", FileForm("tiff", 16, 300))
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        tags = {tag.name: tag.value for tag in file.pages[0].tags}
        assert not file.is_bigtiff
    assert (tags["TileWidth"], tags["TileLength"]) == (256, 256)
    assert tags["BitsPerSample"] == (16, 16, 16)
    assert (tags["Compression"], tags["Predictor"]) == (8, 2)
    assert tags["Photometric"] == 2 if "Photometric" in tags else tags["PhotometricInterpretation"] == 2
    assert not {"DateTime", "ImageDescription"} & set(tags)


def test_beyond_4_gib_tiff_is_big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_CLASSIC_TIFF_BYTES", 512 * 512 * 3 * 2 - 1)
    source, values = canvas(tmp_path)
    write_output(source, SIZE, tmp_path / "out.tif", FileForm("tiff", 16, 300))
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.is_bigtiff
        assert np.abs(file.asarray() - rounded(values, 16)).max() <= 1


@pytest.mark.parametrize(("format", "bits"), KINDS)
def test_the_same_pixels_give_the_same_bytes(tmp_path: Path, format: Format, bits: Bits) -> None:
    source, _ = canvas(tmp_path)
    for name in ("a", "b"):
        write_output(source, SIZE, tmp_path / name, FileForm(format, bits, 300))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 40), height=st.integers(1, 40), kind=st.sampled_from(KINDS))
def test_any_small_size(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, kind: tuple[Format, Bits]
) -> None:
    folder = tmp_path_factory.mktemp("small")
    source, values = canvas(folder, Size(width, height))
    write_output(source, Size(width, height), folder / "o", FileForm(kind[0], kind[1], 300))
    found = open_srgb(inspect(folder / "o", "content")).numpy()
    assert found.shape == values.shape
    if kind[0] != "jpeg":
        assert np.abs(found - values.clip(0, 1)).max() <= 0.51 / (2 ** kind[1] - 1)


@pytest.mark.parametrize(("format", "bits"), KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_written(
    tmp_path: Path, format: Format, bits: Bits, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 50_000)
    source, values = canvas(tmp_path)
    values[211, 17, 1] = bad
    values.tofile(source)
    with pytest.raises(TilefarmError, match="not finite at x=17, y=211"):
        write_output(source, SIZE, tmp_path / "out", FileForm(format, bits, 300))
    assert [path.name for path in tmp_path.iterdir()] == ["canvas.raw"]


@pytest.mark.parametrize(("format", "bits"), KINDS)
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, format: Format, bits: Bits) -> None:
    source, _ = canvas(tmp_path)
    (tmp_path / "out").write_bytes(b"old")
    with small_disk(20_000), pytest.raises(ResourceError, match="disk became full"):
        write_output(source, SIZE, tmp_path / "out", FileForm(format, bits, 300))
    assert (tmp_path / "out").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canvas.raw", "out"]


def test_a_file_that_fails_its_check_never_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = canvas(tmp_path)

    def refuse(path: Path, *_: object, **__: object) -> None:
        assert path.stat().st_size > 1000
        raise TilefarmError("differs")

    monkeypatch.setattr(module, "check_output", refuse)
    with pytest.raises(TilefarmError, match="differs"):
        write_output(source, SIZE, tmp_path / "out.tif", FileForm("tiff", 16, 300))
    assert [path.name for path in tmp_path.iterdir()] == ["canvas.raw"]


def test_the_users_umask_decides_who_may_read(tmp_path: Path) -> None:
    source, _ = canvas(tmp_path, Size(4, 4))
    before = os.umask(0o027)
    try:
        for format, bits in KINDS:
            write_output(source, Size(4, 4), tmp_path / format, FileForm(format, bits, 300))
            assert (tmp_path / format).stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_jpeg_has_8_bits(tmp_path: Path) -> None:
    source, _ = canvas(tmp_path, Size(4, 4))
    with pytest.raises(ValueError, match="8 bits only"):
        write_output(source, Size(4, 4), tmp_path / "o.jpg", FileForm("jpeg", 16, 300))


def test_a_canvas_of_another_size(tmp_path: Path) -> None:
    source, _ = canvas(tmp_path, Size(4, 4))
    with pytest.raises(TilefarmError, match="must have 240 bytes for 5x4 pixels, got 192"):
        write_output(source, Size(5, 4), tmp_path / "o.png", FileForm("png", 8, 300))
