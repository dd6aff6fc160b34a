"""Pictures that were cut short or changed: refused, with the place where they break."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile
from tifffile import TiffFile

from tests.picture_files import FORMS, HEIGHT, Form, encoded
from tilefarm.errors import JobError
from tilefarm.image.breakage import broken_byte, broken_row
from tilefarm.image.decode import check_decodes, inspect, open_srgb

PLACE = r"the file ends at byte {}\b"


def problem_of(path: Path) -> str:
    """The sentence about a picture; empty for a good one."""
    try:
        check_decodes(inspect(path, "content"))
    except JobError as error:
        (problem,) = error.problems
        assert problem.startswith(f"content: {path} ")
        assert "\n" not in problem
        return problem
    return ""


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_whole_file_has_no_broken_byte(tmp_path: Path, form: Form) -> None:
    path = tmp_path / form.name
    path.write_bytes(encoded()[form.name])
    assert broken_byte(path) == ""
    assert broken_row(path, HEIGHT, "warning") == ""


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_cut_short_at_every_tenth(tmp_path: Path, form: Form) -> None:
    """Refused with the byte at which it ends, or whole: later pages and closing marks are not needed."""
    data, path = encoded()[form.name], tmp_path / form.name
    refused = 0
    for tenth in range(1, 10):
        cut = len(data) * tenth // 10
        path.write_bytes(data[:cut])
        if problem := problem_of(path):
            refused += 1
            assert re.search(PLACE.format(cut), problem), problem
        else:
            info = inspect(path, "content")
            np.testing.assert_allclose(open_srgb(info).numpy(), form.expected(), atol=form.tolerance)
    assert refused >= (4 if form.name in ("pages.tif", "animated.png") else 9)


def test_the_row_of_a_jpeg(tmp_path: Path) -> None:
    """The rows that are told to be good are those that Pillow finds good, up to what is decoded in one go."""
    data, path = encoded()["baseline.jpg"], tmp_path / "cut.jpg"
    (tmp_path / "whole.jpg").write_bytes(data)
    whole = np.asarray(Image.open(tmp_path / "whole.jpg"))
    told = []
    for tenth in (5, 7, 9):
        path.write_bytes(data[: len(data) * tenth // 10])
        good = _good_rows(path, whole)
        match = re.search(rf"breaks off after row (\d+) of {HEIGHT}", problem_of(path))
        row = int(match[1]) if match else 0
        assert good - 40 < row <= good
        told.append(row)
    assert told[0] < told[-1]


def _good_rows(path: Path, whole: NDArray[np.uint8]) -> int:
    """The first row that differs where Pillow is told to take what there is."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with Image.open(path) as image:
            cut = np.asarray(image)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    wrong = (cut != whole).any(axis=(1, 2))
    return int(np.argmax(wrong))


def test_the_row_counts_as_stored(tmp_path: Path) -> None:
    """A turned picture has as many rows as its file, not as the upright picture."""
    path = tmp_path / "turned.jpg"
    data = encoded()["turned-6.jpg"]
    path.write_bytes(data[: len(data) * 9 // 10])
    assert "of 130;" in problem_of(path)


@pytest.mark.parametrize(
    ("name", "at", "says"),
    [
        ("rgb8.png", 60, r"the checksum of the chunk IDAT from byte 33 to \d+ is wrong"),
        ("rgb8.png", 37, "byte 33 should begin a chunk and does not"),
        ("baseline.jpg", 20, r"byte \d+ should begin a segment and does not"),
        ("palette.gif", 781, "byte 781 should begin a block and does not"),
    ],
)
def test_a_changed_byte(tmp_path: Path, name: str, at: int, says: str) -> None:
    data = bytearray(encoded()[name])
    if name == "baseline.jpg":  # the mark of its second segment
        at = 4 + struct.unpack_from(">H", data, 4)[0]
    if name == "palette.gif":
        at = 13 + (3 << ((data[10] & 7) + 1))
        says = f"byte {at} should begin a block and does not"
    data[at] ^= 0xFF
    path = tmp_path / name
    path.write_bytes(bytes(data))
    assert re.search(says, problem_of(path)), problem_of(path)


def test_the_part_of_a_tiff_that_is_missing(tmp_path: Path) -> None:
    path, data = tmp_path / "planar.tif", encoded()["planar.tif"]
    path.write_bytes(data[:-1])
    parts = 3 * -(-HEIGHT // 7)
    assert f"part {parts} of {parts} of its pixels should be at bytes" in problem_of(path)


@pytest.mark.parametrize("name", ["rgb16-deflate-predictor.tif", "tiled.tif", "lab8-tiled-big-endian.tif"])
def test_no_changed_byte_of_deflated_pixels_goes_unnoticed(tmp_path: Path, name: str) -> None:
    path, good = tmp_path / name, encoded()[name]
    path.write_bytes(good)
    with TiffFile(path) as file:
        offsets, lengths = file.pages.first.dataoffsets, file.pages.first.databytecounts
    for number in (0, len(offsets) - 1):
        for at in range(offsets[number] + 2, offsets[number] + lengths[number], lengths[number] // 7):
            data = bytearray(good)
            data[at] ^= 0x10
            path.write_bytes(bytes(data))
            assert "damaged" in problem_of(path), at


@pytest.mark.parametrize("name", ["packbits.tif", "jpeg-inside.tif"])
def test_tiff_pixels_that_do_not_unpack(tmp_path: Path, name: str) -> None:
    path, data = tmp_path / name, bytearray(encoded()[name])
    middle = len(data) // 2
    data[middle : middle + 40] = np.random.default_rng(3).bytes(40)
    path.write_bytes(bytes(data))
    assert "damaged" in problem_of(path)


def test_what_is_none_of_the_formats_has_no_structure(tmp_path: Path) -> None:
    for data in (b"", b"x", b"text " * 9):
        (tmp_path / "file").write_bytes(data)
        assert broken_byte(tmp_path / "file") == ""
    assert broken_byte(tmp_path / "missing") == ""


def test_heic_without_its_decoder_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "phone.heic"
    path.write_bytes(heic(128, 96, b"\0\0\0\x04abcd"))
    problem = problem_of(path)
    if "HEVC" in problem:
        assert "that the installed libvips cannot read" in problem
    else:  # a libvips with a decoder finds that there is no picture in it
        assert "damaged" in problem
    assert problem.endswith("save it as JPEG, PNG or TIFF") or "save it again" in problem


def heic(width: int, height: int, data: bytes) -> bytes:
    """The container of a phone's picture (ISO/IEC 23008-12) around some bytes of HEVC."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + kind + body

    def full(kind: bytes, body: bytes, version: int = 0) -> bytes:
        return box(kind, struct.pack(">I", version << 24) + body)

    configuration = bytes.fromhex("010160000000900000000000 5df000fcfdf8f800000f00")
    shape = full(b"ispe", struct.pack(">II", width, height))
    properties = box(b"ipco", box(b"hvcC", configuration) + shape)
    properties = box(b"iprp", properties + full(b"ipma", struct.pack(">IHBBB", 1, 1, 2, 0x81, 2)))
    handler = full(b"hdlr", bytes(4) + b"pict" + bytes(13))
    items = full(b"iinf", struct.pack(">H", 1) + full(b"infe", struct.pack(">HH", 1, 0) + b"hvc1\0", 2))
    first = full(b"pitm", struct.pack(">H", 1))

    def meta(offset: int) -> bytes:
        place = full(b"iloc", struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, offset, len(data)))
        return full(b"meta", handler + first + place + items + properties)

    head = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", data)
