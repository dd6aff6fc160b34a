"""Output paths that cannot work are refused before work starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.picture_files import encoded
from tilefarm.errors import JobError
from tilefarm.geometry import Size
from tilefarm.output.check_target import check_target
from tilefarm.output.encode import encoder_bytes
from tilefarm.spec.file_form import FileForm, Format, format_name

TIFF = FileForm("tiff", 16, 300)


def test_missing_folders_are_created_and_nothing_else(tmp_path: Path) -> None:
    check_target(tmp_path / "a" / "b" / "picture.tif", TIFF, Size(10, 10))
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


@pytest.mark.parametrize("old", [b"", *(data[:1000] for data in encoded().values())])
def test_an_older_picture_is_accepted_and_left_alone(tmp_path: Path, old: bytes) -> None:
    (tmp_path / "picture.png").write_bytes(old)
    check_target(tmp_path / "picture.png", FileForm("png", 8, 300), Size(10, 10))
    assert (tmp_path / "picture.png").read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "unplugged")
    for path in (tmp_path / "out" / "a.tif", tmp_path / "out" / "new" / "a.tif"):
        with pytest.raises(JobError, match=r"^output\.path: .*/out is a link to a place that does not exist"):
            check_target(path, TIFF, Size(10, 10))


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("old", [b"old", b"ssh-ed25519 AAAA", b"%PDF-1.7", bytes(50)])
def test_a_file_that_is_no_picture_is_not_replaced(tmp_path: Path, old: bytes, link: bool) -> None:
    target = there = tmp_path / "picture.png"
    if link:
        there = tmp_path / "elsewhere"
        target.symlink_to(there)
    there.write_bytes(old)
    with pytest.raises(JobError, match=r"^output\.path: .*picture\.png is there already and is no picture"):
        check_target(target, FileForm("png", 8, 300), Size(10, 10))
    assert there.read_bytes() == old


@pytest.mark.parametrize(
    ("format", "most"), [("jpeg", 65_500), ("png", 2**31 - 1), ("tiff", 2**31 - 1), ("webp", 16_383)]
)
def test_the_largest_side(tmp_path: Path, format: Format, most: int) -> None:
    check_target(tmp_path / "picture", FileForm(format, 8, 300), Size(most, 1))
    for size in (Size(most + 1, 1), Size(1, most + 1)):
        with pytest.raises(JobError, match=rf"^output\.path: {format_name(format)} .* {most} .* got {size}"):
            check_target(tmp_path / "picture", FileForm(format, 8, 300), size)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is a folder"):
        check_target(tmp_path, TIFF, Size(10, 10))


def test_a_device_is_no_file() -> None:
    with pytest.raises(JobError, match="not a regular file"):
        check_target(Path(os.devnull), TIFF, Size(10, 10))


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "picture.tif", tmp_path / "file" / "deep" / "picture.tif"):
        with pytest.raises(JobError, match=r"folder .*file.* cannot be created"):
            check_target(path, TIFF, Size(10, 10))


def test_a_name_that_leaves_no_room_for_the_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="can be written"):
        check_target(tmp_path / ("x" * 250 + ".tif"), TIFF, Size(10, 10))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(JobError, match="can be written"):
            check_target(tmp_path / "picture.tif", TIFF, Size(10, 10))
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(("alpha", "lossless"), [(False, False), (True, False), (False, True)])
def test_what_the_encoder_of_webp_holds_must_be_free(tmp_path: Path, alpha: bool, lossless: bool) -> None:
    form, size = FileForm("webp", 8, 300, lossless=lossless), Size(6000, 4500)
    needed = encoder_bytes(form, size, 4 if alpha else 3)
    check_target(tmp_path / "a.webp", form, size, alpha=alpha, memory=needed)
    with pytest.raises(JobError, match=r"the encoder of WebP holds the whole picture, \d+ MiB .* 6000x4500"):
        check_target(tmp_path / "a.webp", form, size, alpha=alpha, memory=needed - 1)
    for other in (TIFF, FileForm("png", 8, 300), FileForm("jpeg", 8, 300)):
        check_target(tmp_path / "a", other, size, memory=0)


MEASURE = """
import sys
from pathlib import Path
from tilefarm.execute.process import peak_rss
from tilefarm.geometry import Size
from tilefarm.output.write import write_output
from tilefarm.spec.file_form import FileForm
source, form = Path(sys.argv[1]), FileForm("webp", 8, 300, lossless=sys.argv[2] == "True")
before = peak_rss()
write_output(source, Size(1600, 1600), source.with_suffix(".webp"), form, source if form.lossless else None)
print(peak_rss() - before)
"""
_ENGINE = 60 * 2**20
"""What libvips takes for itself, for a picture of any size."""


@pytest.mark.parametrize("lossless_with_alpha", [False, True])
def test_the_encoder_of_webp_holds_no_more(tmp_path: Path, lossless_with_alpha: bool) -> None:
    source = tmp_path / "canvas.raw"
    np.random.default_rng(0).uniform(0, 1, (1600, 1600, 3)).astype("<f4").tofile(source)
    command = [sys.executable, "-c", MEASURE, str(source), str(lossless_with_alpha)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    form = FileForm("webp", 8, 300, lossless=lossless_with_alpha)
    counted = encoder_bytes(form, Size(1600, 1600), 4 if lossless_with_alpha else 3)
    assert 0.5 * counted < int(done.stdout) < counted + _ENGINE
