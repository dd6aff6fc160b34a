"""Output paths that cannot work are refused before work starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.picture_files import encoded
from tilefarm.errors import JobError
from tilefarm.geometry import Size
from tilefarm.output.check_target import check_target
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
