"""Reserved space, atomic replacement and checksums."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tilefarm.errors import ResourceError
from tilefarm.files import as_named, checksum, disk_full, replacing, reserve, write_text

in_one_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# reserve


@in_one_folder
@given(held=st.binary(max_size=300), size=st.integers(0, 300), allocates=st.booleans())
def test_a_reserved_file_has_its_size_and_keeps_what_it_held(
    tmp_path: Path, held: bytes, size: int, allocates: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(held)
    with pytest.MonkeyPatch.context() as patch:
        if not allocates:  # as on macOS
            patch.delattr(os, "posix_fallocate", raising=False)
        reserve(path, size)
    assert path.read_bytes() == held[:size] + bytes(max(0, size - len(held)))


def test_reserved_blocks_are_really_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    reserve(path, 1 << 20)
    assert path.stat().st_size == 1 << 20
    assert path.stat().st_blocks * 512 >= 1 << 20, "a file with holes fails only when it is written"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_resource_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ResourceError, match=r"canvas needs 3 MiB and the disk has not that much") as caught:
        reserve(tmp_path / "canvas", 3 << 20)
    assert caught.value.exit_code == 5


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        reserve(tmp_path / "no folder" / "canvas", 1)


def test_the_kernels_own_refusal_is_a_resource_error(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from tilefarm.errors import ResourceError
from tilefarm.files import reserve
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
reserve(Path(sys.argv[1]), 65536)
try:
    reserve(Path(sys.argv[1]), 65537)
except ResourceError:
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "canvas")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "refused\n"
    assert (tmp_path / "canvas").stat().st_size == 65536


# replacing


def test_a_block_that_ends_well_replaces_the_target(tmp_path: Path) -> None:
    target = tmp_path / "picture.tif"
    target.write_text("old")
    with replacing(target) as temporary:
        assert temporary.parent == target.parent, "a rename is atomic on one file system only"
        assert temporary.suffix == target.suffix, "writers choose the format by the ending"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["picture.tif"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_block_that_raises_leaves_the_target_and_nothing_else(
    tmp_path: Path, error: type[BaseException], old: str | None
) -> None:
    target = tmp_path / "picture.tif"
    if old is not None:
        target.write_text(old)
    with pytest.raises(error), replacing(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert names(tmp_path) == ([] if old is None else ["picture.tif"])
    assert old is None or target.read_text() == old


def test_a_block_that_writes_nothing_leaves_the_target(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(target):
        pass
    assert target.read_text() == "old"


def test_bytes_are_durable_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a"
    steps: list[tuple[str, int]] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        steps.append(("sync", os.fstat(descriptor).st_ino))
        real_fsync(descriptor)

    def replace(self: Path, other: Path) -> Path:
        steps.append(("rename", self.stat().st_ino))
        return real_replace(self, other)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_text(target, "new")
    file, folder = target.stat().st_ino, tmp_path.stat().st_ino
    assert steps == [("sync", file), ("rename", file), ("sync", folder)]


def test_a_process_killed_while_replacing_leaves_the_old_file(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from tilefarm.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("half", flush=True)
    sys.stdin.read()
"""
    target = tmp_path / "a"
    target.write_text("old")
    with subprocess.Popen(
        [sys.executable, "-c", program, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert target.read_text() == "old"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_what_the_umask_gives(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a", "text")
        reserve(tmp_path / "b", 10)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "ab"] == [0o666 & ~mask] * 2


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "Gemälde\n")
    assert (tmp_path / "a").read_bytes() == b"Gem\xc3\xa4lde\n"


def test_a_disk_that_fills_up_leaves_the_old_text_and_is_a_resource_error(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from tilefarm.errors import ResourceError
from tilefarm.files import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    write_text(Path(sys.argv[1]), "x" * 65537)
except ResourceError as error:
    print(error)
"""
    target = tmp_path / "run.json"
    target.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", program, str(target)], capture_output=True, text=True, check=True
    )
    assert (
        done.stdout
        == f"the disk became full while {target} was written; free some space and start it again\n"
    )
    assert target.read_text() == "old"
    assert names(tmp_path) == ["run.json"]


# checksum


@in_one_folder
@example(data=bytes(range(256)) * (3 << 14) + b"!")  # 12 MiB and one byte: several blocks
@given(data=st.binary(max_size=1000))
def test_the_checksum_is_zlibs(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert checksum(path) == zlib.crc32(data)


@pytest.mark.parametrize("name", ["canvas-0.f32", "out.tif", "a.1.part", "lock", ".hidden", "x.part.f32"])
def test_a_temporary_file_is_called_by_the_name_that_it_will_have(tmp_path: Path, name: str) -> None:
    assert as_named(tmp_path / name) == tmp_path / name
    with replacing(tmp_path / name) as temporary:
        temporary.touch()
        assert as_named(temporary) == tmp_path / name
        assert temporary.name not in str(disk_full(temporary))
        assert f" {tmp_path / name} " in str(disk_full(str(temporary)))
