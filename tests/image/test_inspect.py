"""Bad and odd files: every one ends in a sentence that names the job's entry, before any work."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tilefarm.errors import JobError
from tilefarm.geometry import Size
from tilefarm.image.decode import check_decodes, inspect, open_srgb

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'


def noise(height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise()).save(buffer, format, **options)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A valid header with next to no data: what a decompression bomb looks like from outside."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def problem_of(path: Path) -> str:
    with pytest.raises(JobError) as caught:
        check_decodes(inspect(path, "content"))
    assert len(caught.value.problems) == 1
    message = caught.value.problems[0]
    assert message.startswith(f"content: {path} ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("empty.png", b"", "is empty"),
        ("text.png", b"this is no picture at all\n" * 50, "is not a JPEG, PNG, TIFF"),
        ("drawing.png", SVG, "is not a JPEG, PNG, TIFF"),
        ("drawing.svg", SVG, "is not a JPEG, PNG, TIFF"),
        ("numbers.csv", b"1,2,3\n4,5,6\n", "is not a JPEG, PNG, TIFF"),
        ("page.pdf", b"%PDF-1.7\n%%EOF\n", "is not a JPEG, PNG, TIFF"),
        ("old.bmp", encoded("BMP"), "is not a JPEG, PNG, TIFF"),
        ("bomb.png", png_that_claims(30_000, 30_000), "500 megapixels, got 30000x30000 (900 megapixels)"),
        ("huge.png", png_that_claims(2**31 - 1, 2**31 - 1), "or it is damaged"),
        ("header.jpg", encoded("JPEG")[:12], "damaged"),
        ("half.jpg", encoded("JPEG")[:9000], "truncated"),
        ("half_progressive.jpg", encoded("JPEG", progressive=True)[:9000], "truncated"),
        ("half.png", encoded("PNG")[:20_000], "truncated"),
        ("half.webp", encoded("WEBP")[:5_000], "damaged"),
        ("half.tif", encoded("TIFF")[:20_000], "damaged"),
        ("half.gif", encoded("GIF")[:5_000], "damaged"),
    ],
)
def test_files_that_are_no_whole_picture(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert expected in problem_of(path)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in problem_of(tmp_path / "none.jpg")
    (tmp_path / "file").write_bytes(b"x")
    assert "does not exist" in problem_of(tmp_path / "file" / "below.jpg")


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in problem_of(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    assert "not a regular file" in problem_of(pipe)


def test_the_label_names_the_entry(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"^styles\[2\]\.image: "):
        inspect(tmp_path / "none.jpg", "styles[2].image")


def test_a_picture_at_the_limit_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_that_claims(25_000, 20_000))
    assert inspect(path, "content").size == Size(25_000, 20_000)
    path.write_bytes(png_that_claims(25_000, 20_001))
    with pytest.raises(JobError, match="500 megapixels"):
        inspect(path, "content")


def test_a_jpeg_with_broken_data_in_the_middle(tmp_path: Path) -> None:
    data = bytearray(encoded("JPEG"))
    middle = len(data) // 2
    data[middle : middle + 200] = b"\x55" * 200
    data[middle + 300 : middle + 302] = b"\xff\xd9"  # an end marker where data should be
    path = tmp_path / "broken.jpg"
    path.write_bytes(bytes(data))
    assert "damaged" in problem_of(path)


def test_a_png_with_a_changed_byte(tmp_path: Path) -> None:
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "broken.png"
    path.write_bytes(bytes(data))
    assert "damaged" in problem_of(path)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("name", ["picture.dat", "with [brackets].png", "größe.svg", "under\udcff.png"])
def test_the_name_does_not_matter(tmp_path: Path, format: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(format))
    info = inspect(path, "content")
    check_decodes(info)
    assert info.size == Size(160, 120)
    assert info.notes == ()


@pytest.mark.parametrize("format", ["TIFF", "GIF", "WEBP"])
def test_only_the_first_page_is_used(tmp_path: Path, format: str) -> None:
    path = tmp_path / "pages"
    black, white = (Image.new("RGB", (8, 6), colour) for colour in ("black", "white"))
    black.save(path, format, save_all=True, append_images=[white, black])
    info = inspect(path, "content")
    assert info.size == Size(8, 6)
    assert "only the first of 3 pages is used" in info.notes
    assert open_srgb(info).max() == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.zeros((4, 4, 3), np.int16), "has numbers of type short"),
        (np.zeros((4, 4, 7), np.uint8), "has 7 channels of kind"),
    ],
)
def test_colours_without_definition(tmp_path: Path, values: NDArray[np.generic], expected: str) -> None:
    path = tmp_path / "odd.tif"
    photometric = "rgb" if values.shape[2] == 3 else "minisblack"
    tifffile.imwrite(path, values, photometric=photometric, planarconfig="contig", metadata=None)
    assert expected in problem_of(path)


@pytest.mark.parametrize("bad", [255.0, -3.0, np.nan, np.inf])
def test_floating_point_must_be_between_0_and_1(tmp_path: Path, bad: float) -> None:
    values = np.full((5, 6, 3), 0.5, np.float32)
    path = tmp_path / "float.tif"
    tifffile.imwrite(path, values, photometric="rgb", metadata=None)
    check_decodes(inspect(path, "content"))
    values[2, 3, 1] = bad
    tifffile.imwrite(path, values, photometric="rgb", metadata=None)
    assert "must hold floating point values from 0 to 1" in problem_of(path)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, data in [("a.jpg", encoded("JPEG")[:9000]), ("b.png", encoded("PNG")[:9000]), ("c", SVG)]:
        (tmp_path / name).write_bytes(data)
        problem_of(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_a_picture_that_disappears_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded("PNG"))
    info = inspect(path, "content")
    path.unlink()
    with pytest.raises(JobError, match="truncated"):
        check_decodes(info)
    with pytest.raises(JobError, match="changed or removed"):
        open_srgb(info)


def test_real_pictures(shared_images: Path) -> None:
    for path in sorted(shared_images.glob("*.jpg")):
        info = inspect(path, "content")
        check_decodes(info)
        with Image.open(path) as image:
            assert (info.size.width, info.size.height) == image.size
