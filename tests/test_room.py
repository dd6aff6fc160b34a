"""What is known about disks before the work starts, and what killed writers left beside their files."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import tilefarm.prepare
from tests.prepared import prepared_job
from tilefarm.errors import ResourceError
from tilefarm.files import remove_leftovers
from tilefarm.geometry import Size
from tilefarm.plan.estimate import output_bytes
from tilefarm.prepare import check_disk, estimate
from tilefarm.spec.alpha import Alpha
from tilefarm.spec.file_form import Depth, FileForm

GIB = 2**30


@pytest.mark.parametrize("apart", [True, False])
def test_the_picture_must_fit_on_its_own_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    """6000x4500 pixels of 16 bits are 162 MB; its folder, /out, does not exist: / is looked at."""
    prepared = prepared_job(6000)
    free = {tmp_path: 1000 * GIB, Path("/"): 163 * 10**6}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[folder]))
    monkeypatch.setattr(tilefarm.prepare, "_device", lambda folder: int(apart and folder == Path("/out")))
    required = estimate(prepared)
    if apart:
        with pytest.raises(ResourceError, match=r"writing gate\.tif needs 156 MiB in /out .* output\.path"):
            check_disk(prepared, tmp_path / "runs" / "gate", required)
    free[Path("/")] = 164 * 10**6
    check_disk(prepared, tmp_path / "runs" / "gate" if apart else tmp_path, required)
    free[tmp_path] = 0
    with pytest.raises(ResourceError, match=r"^the run needs .* and the disk has 0 MiB free; .*--run-dir$"):
        check_disk(prepared, tmp_path, required)


def test_kept_transparency_takes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """6000x4500 pixels of four channels of 16 bits are 216 MB."""
    flat = prepared_job(6000)
    kept = replace(flat, job=flat.job.model_copy(update={"alpha": Alpha(mode="keep")}))
    assert estimate(kept).disk_bytes - estimate(flat).disk_bytes == pytest.approx(54 * 10**6, rel=0.02)
    free = {tmp_path: 1000 * GIB, Path("/"): 215 * 10**6}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[folder]))
    monkeypatch.setattr(tilefarm.prepare, "_device", lambda folder: folder == Path("/out"))
    with pytest.raises(ResourceError, match=r"writing gate\.tif needs 208 MiB"):
        check_disk(kept, tmp_path / "run", estimate(kept))


def test_what_cannot_be_compressed_fits() -> None:
    """Deflate adds 5 bytes to a block of 16 KiB, and a picture of one pixel is a whole file."""
    depths: tuple[Depth, ...] = (8, 16)
    for size in (Size(1, 1), Size(6000, 4500)):
        for depth, alpha in itertools.product(depths, (False, True)):
            raw = size.pixels * (4 if alpha else 3) * depth // 8
            form = FileForm("tiff", depth, 300)
            assert raw + 5 * (raw // 16384 + 1) < output_bytes(size, form, alpha) < raw * 1.02 + 10**5


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    target = tmp_path / "a [b].tif"
    stale = tmp_path / f".a [b].tif.{gone.pid}.part.tif"
    kept = [
        tmp_path / f".a [b].tif.{os.getppid()}.part.tif",
        tmp_path / f".a b.tif.{gone.pid}.part.tif",
        tmp_path / f".a [b].tif.{gone.pid}.part.png",
        tmp_path / ".a [b].tif.mine.part.tif",
        target,
    ]
    for path in (stale, *kept):
        path.touch()
    remove_leftovers(target)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
