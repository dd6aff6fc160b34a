"""TIFF with Zstandard: by the system's codec where Python has none, read again by Debian's libvips."""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tilefarm.errors import JobError, TilefarmError
from tilefarm.geometry import Size
from tilefarm.output.check import check_output
from tilefarm.output.check_target import check_target
from tilefarm.output.write import write_output
from tilefarm.output.zstd_tiff import missing_zstd
from tilefarm.spec.file_form import FileForm

SIZE = Size(600, 530)
ZSTD = 50000
FORM = FileForm("tiff", 16, 240, compression="zstd")


def codecs(kind: str) -> dict[int, Any]:
    """What tifffile has found so far."""
    known: dict[int, Any] = getattr(tifffile.TIFF, kind)._codecs
    return known


@pytest.fixture
def codec(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec where tifffile finds none: libzstd itself."""
    if missing_zstd() is None:
        return
    name = ctypes.util.find_library("zstd")
    if name is None:
        pytest.skip("neither imagecodecs nor libzstd is installed")
    library = ctypes.CDLL(name)
    for function in ("ZSTD_compress", "ZSTD_decompress", "ZSTD_compressBound"):
        getattr(library, function).restype = ctypes.c_size_t

    def encode(data: Any, level: int | None = None, **_: object) -> bytes:
        plain = bytes(data)
        room = library.ZSTD_compressBound(ctypes.c_size_t(len(plain)))
        buffer = ctypes.create_string_buffer(room)
        sizes = ctypes.c_size_t(room), ctypes.c_size_t(len(plain))
        length = library.ZSTD_compress(buffer, sizes[0], plain, sizes[1], level or 3)
        return buffer.raw[:length]

    def decode(data: Any, **_: object) -> bytes:
        packed = bytes(data)
        buffer = ctypes.create_string_buffer(1 << 22)
        length = library.ZSTD_decompress(
            buffer, ctypes.c_size_t(len(buffer)), packed, ctypes.c_size_t(len(packed))
        )
        if length > len(buffer):
            raise ValueError("damaged")
        return buffer.raw[:length]

    monkeypatch.setitem(codecs("COMPRESSORS"), ZSTD, encode)
    monkeypatch.setitem(codecs("DECOMPRESSORS"), ZSTD, decode)


def test_without_a_codec_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> bytes:
        raise ImportError

    monkeypatch.setitem(codecs("COMPRESSORS"), ZSTD, none)
    with pytest.raises(JobError, match=r"^output\.compression: zstd needs a codec .*tilefarm\[zstd\]"):
        check_target(tmp_path / "a.tif", FORM, SIZE)


@pytest.mark.usefixtures("codec")
@pytest.mark.parametrize(("bits", "alpha"), [(16, False), (8, True)])
def test_what_others_read(tmp_path: Path, bits: Any, alpha: bool) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (SIZE.height, SIZE.width, 3)).astype("<f4")
    values.tofile(tmp_path / "canvas.raw")
    form = FileForm("tiff", bits, 240, compression="zstd")
    target, source = tmp_path / "a.tif", tmp_path / "canvas.raw"
    check_target(target, form, SIZE)
    write_output(source, SIZE, target, form, source if alpha else None, xmp=b"<x/>")
    with tifffile.TiffFile(target) as file:
        tags = file.pages.first.tags
        assert (tags["Compression"].value, tags["Predictor"].value) == (50000, 2)
        assert bytes(tags["XMP"].value) == b"<x/>"
    if shutil.which("vips") is None:
        pytest.skip("vips is not installed: scripts/system_packages.sh")
    plain = tmp_path / "plain.tif"
    done = subprocess.run(["vips", "copy", target, plain], capture_output=True, text=True, check=False)
    if "zstd" in done.stderr.lower():
        pytest.skip("this libvips has no Zstandard either")
    full = 2**bits - 1
    assert np.abs(tifffile.imread(plain)[..., :3] - np.rint(values * full)).max() <= 1


@pytest.mark.usefixtures("codec")
def test_damage_is_found(tmp_path: Path) -> None:
    np.random.default_rng(0).uniform(0, 1, (530, 600, 3)).astype("<f4").tofile(tmp_path / "canvas.raw")
    write_output(tmp_path / "canvas.raw", SIZE, tmp_path / "a.tif", FORM)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start = file.pages.first.dataoffsets[3]
    data[start : start + 40] = bytes(40)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(TilefarmError, match="do not decode"):
        check_output(tmp_path / "a.tif", SIZE, FORM)
