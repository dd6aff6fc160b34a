"""Every picture says how it was made: to other programs, to us, and nothing that is nobody's business."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest
import pyvips
from PIL import Image

import tilefarm
from tests.delivered import exiftool, only_run, write_job
from tests.program import Command
from tilefarm.errors import JobError
from tilefarm.execute.process import peak_rss
from tilefarm.image.xmp import MOST_WRITTEN, packet
from tilefarm.output.zstd_tiff import missing_zstd
from tilefarm.provenance import Record, _place, read_record
from tilefarm.spec.fingerprint import file_sha256
from tilefarm.spec.yaml_source import parse

FORMS = [
    "path: out.tif",
    pytest.param(
        "path: out.tif, compression: zstd",
        marks=pytest.mark.skipif(missing_zstd() is not None, reason="imagecodecs is not installed"),
    ),
    "path: out.tif, pyramid: true, compression: lzw",
    "path: out.tif, tiled: false",
    "path: out.png, bit_depth: 16",
    "path: out.jpg",
    "path: out.webp",
    "path: out.webp, lossless: true",
]


def written(path: Path) -> Path:
    [found] = path.glob("out.*")
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_format_carries_it(tilefarm_command: Command, tmp_path: Path, form: str) -> None:
    write_job(tmp_path, form)
    answer = tilefarm_command("submit", "gate.yaml")
    assert answer.code == 0, answer.err
    picture = written(tmp_path)
    record = read_record(picture)
    assert (record.tilefarm, record.weights_sha256) == (tilefarm.__version__, "0" * 64)
    assert (record.picture, record.canvas) == ([120, 90], [120, 90])
    assert record.job["compute"] == {"precision": "float32"}
    assert (record.job["method"], record.job["seed"], record.job["tiles"]["size"]) == ("feathered", 0, 64)
    assert record.inputs == {
        "content": file_sha256(tmp_path / "photo.png"),
        "styles.0.image": file_sha256(tmp_path / "night.png"),
    }
    if shutil.which("exiftool") is not None:
        _seen_by_exiftool(picture)


def _seen_by_exiftool(picture: Path) -> None:
    """Another program reads it, adds to it, and we still read it."""
    record = exiftool(picture, "-b", "-XMP-tilefarm:Record")
    assert parse(record, "exiftool").data["job"]["name"] == "gate"
    assert exiftool(picture, "-b", "-XMP-dc:Title") == "gate"
    assert exiftool(picture, "-b", "-XMP-xmp:CreatorTool") == f"tilefarm {tilefarm.__version__}"
    exiftool(picture, "-overwrite_original", "-XMP-dc:Creator=Somebody")
    assert read_record(picture).inputs["content"] == file_sha256(picture.parent / "photo.png")


def test_the_same_job_gives_the_same_bytes_wherever_it_is(
    tilefarm_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = []
    for name in ("one", "deep/down/another"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        write_job(folder, "path: out.tif", "compute: {workers: 1}\n" if name == "one" else "")
        monkeypatch.chdir(folder)
        assert tilefarm_command("submit", "gate.yaml").code == 0
        pictures.append((folder / "out.tif").read_bytes())
    assert pictures[0] == pictures[1]
    assert str(tmp_path).encode() not in pictures[0]


def test_no_place_outside_of_its_folder_is_told(tilefarm_command: Command, tmp_path: Path) -> None:
    (tmp_path / "secret client").mkdir()
    (tmp_path / "out" / "inside").mkdir(parents=True)
    write_job(tmp_path, "path: out/picture.tif")
    (tmp_path / "photo.png").rename(tmp_path / "secret client" / "photo.png")
    (tmp_path / "night.png").rename(tmp_path / "out" / "inside" / "night.png")
    sets = (f"content={tmp_path}/secret client/photo.png", "style=out/inside/night.png", "animation=film.gif")
    answer = tilefarm_command("submit", "gate.yaml", *(part for one in sets for part in ("--set", one)))
    assert answer.code == 0, answer.err
    data = (tmp_path / "out" / "picture.tif").read_bytes()
    assert b"secret" not in data
    job = read_record(tmp_path / "out" / "picture.tif").job
    assert job["content"] == "photo.png"
    assert job["styles"][0]["image"] == "inside/night.png"
    assert job["animation"]["path"] == "film.gif"
    assert "path" not in job["output"]


def test_it_can_be_left_out_and_a_delivered_picture_then_changes(
    tilefarm_command: Command, tmp_path: Path
) -> None:
    write_job(tmp_path)
    assert tilefarm_command("submit", "gate.yaml").code == 0
    before = (tmp_path / "out.tif").read_bytes()
    assert "done already" in tilefarm_command("submit", "gate.yaml").err
    assert tilefarm_command("submit", "gate.yaml", "--set", "output.provenance=false").code == 0
    assert b"tilefarm:record" not in (tmp_path / "out.tif").read_bytes()
    with pytest.raises(JobError, match=r"carries no record .* output\.provenance: false"):
        read_record(tmp_path / "out.tif")
    assert tilefarm_command("submit", "gate.yaml").code == 0
    assert (tmp_path / "out.tif").read_bytes() == before


def test_a_run_of_a_version_without_records_stays_done(tilefarm_command: Command, tmp_path: Path) -> None:
    write_job(tmp_path)
    assert tilefarm_command("submit", "gate.yaml", "--set", "output.provenance=false").code == 0
    journal = only_run(tmp_path).journal
    lines = [line for line in journal.read_text().splitlines() if '"provenance"' in line]
    assert len(lines) == 1
    from tilefarm.sealed import sealed_json

    plain = lines[0].replace(',"provenance":false', "").rpartition(',"sum"')[0] + "}"
    journal.write_text(journal.read_text().replace(lines[0], sealed_json(plain)))
    assert "done already" in tilefarm_command("submit", "gate.yaml").err


def test_the_longest_names_fit_into_every_format(tmp_path: Path) -> None:
    names = ["&" * 255, "<" * 255, "é" * 127, "\u2028" * 85, "\U0001d11e" * 63]
    for name in names:
        place = _place(tmp_path / name, tmp_path, "styles.15.style_mask")
        assert len(packet("", "", f"- {place}\n" * 51)) < MOST_WRITTEN - 20_000
    assert _place(tmp_path / "a" / ("x" * 200), tmp_path, "content") == "a/" + "x" * 200


def stamped(path: Path, record: str | bytes) -> Path:
    """A picture with this record, or with this as its whole packet."""
    Image.new("RGB", (8, 8)).save(path)
    image = pyvips.Image.new_from_file(str(path)).copy_memory()
    data = packet("t", "somebody", record) if isinstance(record, str) else record
    image.set_type(pyvips.GValue.blob_type, "xmp-data", data)
    image.pngsave(str(path), keep="xmp")
    return path


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ("", "is not as tilefarm writes it"),
        ("[1, 2]", "is not as tilefarm writes it"),
        ("format: 2", "newer tilefarm"),
        ("format: 1", "is not as tilefarm writes it"),
        ("format: 1\nformat: 1", "line 2"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: " + "[" * 60, "is not a valid job file|nested deeper"),
        ("a: " + "[" * 2000 + "]" * 2000, "nested deeper"),
        ("x: " + "\n- 1" * 12_000, "entries|valid"),
        ("!!python/object/apply:os.system ['true']", "tag|not as tilefarm"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "document type"),
        (b"\xff\xd8\xff", "not UTF-8"),
    ],
)
def test_a_strangers_record_is_one_sentence(tmp_path: Path, record: str | bytes, why: str) -> None:
    with pytest.raises(JobError, match=why) as told:
        read_record(stamped(tmp_path / "picture.png", record))
    assert len(told.value.problems) == 1
    assert "\n" not in str(told.value)


def test_a_gigabyte_of_metadata_is_not_read(tmp_path: Path) -> None:
    before = peak_rss()
    for path in (_large_tiff(tmp_path / "large.tif"), _deflated_png(tmp_path / "bomb.png")):
        with pytest.raises(JobError):
            read_record(path)
    assert peak_rss() - before < 200 * 2**20


def _large_tiff(path: Path) -> Path:
    """8x8 pixels, and an XMP tag (700) that says a billion bytes, all of which are there: a sparse file."""
    tags = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 256), (277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, 64), (700, 1, 10**9, 512)]
    head = struct.pack("<2sHLH", b"II", 42, 8, len(tags))
    path.write_bytes(head + b"".join(struct.pack("<HHLL", *tag) for tag in tags) + bytes(512))
    os.truncate(path, 512 + 10**9)
    return path


def _deflated_png(path: Path) -> Path:
    """A packet of 500 million spaces in half a megabyte."""
    packer = zlib.compressobj(1)
    spaces = b"".join(packer.compress(b" " * 10**7) for _ in range(50)) + packer.flush()
    parts = {
        b"IHDR": struct.pack(">2L5B", 8, 8, 8, 0, 0, 0, 0),
        b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + spaces,
        b"IDAT": zlib.compress(bytes(72)),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))
        for name, data in parts.items()
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def test_wrong_types_are_refused(tmp_path: Path) -> None:
    good = {
        "format": 1,
        "tilefarm": "1",
        "torch": "2",
        "canvas": [4, 4],
        "picture": [4, 4],
        "inputs": {"content": "0" * 64},
        "job": {},
    }
    Record.model_validate(good)
    wrong: dict[str, list[object]] = {
        "tilefarm": [5, "x" * 101],
        "canvas": [[4], [4, -4], ["4", 4], 5],
        "inputs": [{"content": "0" * 63}, {"content": "g" * 64}, [], {str(n): "0" * 64 for n in range(101)}],
        "job": [[], "text"],
        "trim": [[1, 2, 3], "all"],
        "paper": [{"width": 5}],
    }
    for key, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=key):
                Record.model_validate(good | {key: value})


@pytest.mark.parametrize("what", ["missing", "folder", "text", "plain"])
def test_what_is_no_picture_of_ours_is_one_sentence(
    tilefarm_command: Command, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "picture.png"
    if what == "folder":
        path.mkdir()
    elif what == "text":
        path.write_text("content: photo.png\n")
    elif what == "plain":
        Image.new("RGB", (8, 8)).save(path)
    answer = tilefarm_command("submit", "--from", "picture.png")
    assert answer.code == 2
    assert len(answer.told) == 1
    assert answer.told[0].startswith("error: picture.png ")
    assert not (tmp_path / "runs").exists()
