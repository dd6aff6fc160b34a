"""What decoders hold of a picture: foreseen from its header, and really no more than that."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from numpy.typing import NDArray

import tilefarm.prepare
from tests.prepared import prepared_job
from tilefarm.errors import JobError
from tilefarm.image.decode import inspect
from tilefarm.prepare import estimate, readable

MIB = 2**20
SIDE = 2400
SPARE = 24 * MIB
"""Rows, tables and threads of libvips."""
MEASURE = """
import sys
from pathlib import Path
from tilefarm.execute.process import peak_rss
from tilefarm.image.decode import check_decodes, inspect
check_decodes(inspect(Path(sys.argv[1]), ""))  # loads what all pictures need
info = inspect(Path(sys.argv[2]), "")
Path("/proc/self/clear_refs").write_text("5")
before = peak_rss()
check_decodes(info)
print(peak_rss() - before)
"""


def ramps(side: int = SIDE) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:side, 0:side] * (255 / side)
    return np.stack([x, y, y], axis=-1).astype(np.uint8)


def vips(side: int = SIDE) -> pyvips.Image:
    return pyvips.Image.new_from_array(ramps(side)).copy(interpretation="srgb")


def _tiff(path: Path, pixels: NDArray[np.uint8], **options: Any) -> None:
    tifffile.imwrite(path, pixels, photometric="rgb", compression="zlib", **options)


WHOLE: dict[str, tuple[Callable[[Path], Any], float]] = {
    "interlaced.png": (lambda path: vips().pngsave(path, interlace=True, compression=1), 3),
    "progressive.jpg": (lambda path: vips().jpegsave(path, interlace=True, subsample_mode="off"), 6),
    "a.webp": (lambda path: vips().webpsave(path, effort=0), 8),
    "a.avif": (lambda path: vips().heifsave(path, compression="av1", effort=0), 16),
    "tile.tif": (lambda path: _tiff(path, ramps(), tile=(SIDE, SIDE)), 6),
    "planes.tif": (
        lambda path: _tiff(path, np.moveaxis(ramps(), 2, 0), planarconfig="separate", rowsperstrip=SIDE),
        4,
    ),
}
ROWS: dict[str, Callable[[Path], Any]] = {
    "plain.png": lambda path: vips().pngsave(path, compression=1),
    "baseline.jpg": lambda path: vips().jpegsave(path),
    "strip.tif": lambda path: _tiff(path, ramps(), rowsperstrip=SIDE),
}


def decoding(folder: Path, name: str) -> int:
    """Bytes by which a process grows that decodes this picture after a small one."""
    small = folder / f"small{Path(name).suffix}"
    vips(64).write_to_file(str(small))
    command = [sys.executable, "-c", MEASURE, str(small), str(folder / name)]
    environment = os.environ | {"VIPS_CONCURRENCY": "1"}
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return int(answer.stdout)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
@pytest.mark.parametrize("name", WHOLE)
def test_whole_pictures_are_foreseen(tmp_path: Path, name: str) -> None:
    write, per_pixel = WHOLE[name]
    write(tmp_path / name)
    foreseen = inspect(tmp_path / name, "").decoder_bytes
    assert foreseen == pytest.approx(per_pixel * SIDE**2, rel=0.01)
    assert 0.6 * foreseen - SPARE < decoding(tmp_path, name) < foreseen + SPARE


@pytest.mark.parametrize("name", ROWS)
def test_what_comes_row_by_row_takes_nothing(tmp_path: Path, name: str) -> None:
    ROWS[name](tmp_path / name)
    assert inspect(tmp_path / name, "").decoder_bytes == 0


def test_small_tiles_take_two_rows_of_them(tmp_path: Path) -> None:
    _tiff(tmp_path / "a.tif", ramps(1000), tile=(256, 256))
    assert inspect(tmp_path / "a.tif", "").decoder_bytes == 2 * 256 * 1024 * 3


def test_sixteen_bits_and_transparency_count(tmp_path: Path) -> None:
    pixels = np.zeros((50, 40, 4), np.uint16)
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="rgb16")
    image.pngsave(str(tmp_path / "a.png"), interlace=True)
    assert inspect(tmp_path / "a.png", "").decoder_bytes == 50 * 40 * 8


def test_what_does_not_fit_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vips(1000).pngsave(str(tmp_path / "a.png"), interlace=True)
    monkeypatch.setattr(tilefarm.prepare, "free_memory", lambda: 4 * MIB)
    assert readable(tmp_path / "a.png", "content").decoder_bytes == 3 * 10**6
    monkeypatch.setattr(tilefarm.prepare, "free_memory", lambda: 3 * MIB)
    monkeypatch.setattr(tilefarm.prepare, "check_decodes", lambda info: pytest.fail("it was decoded"))
    with pytest.raises(JobError, match=r"takes 3 MiB of memory, of which 3 MiB may .* is not interlaced"):
        readable(tmp_path / "a.png", "content")


def test_the_plan_counts_the_largest_with_the_driver() -> None:
    prepared = prepared_job(2000)
    before = estimate(prepared).driver_bytes
    content, style = (
        replace(picture, decoder_bytes=size)
        for picture, size in ((prepared.content, 10**9), (prepared.styles[0], 3 * 10**9))
    )
    prepared = replace(prepared, content=content, styles=(style,))
    assert estimate(prepared).driver_bytes == before + 3 * 10**9
