"""Hundreds of damaged and hostile pictures of each format: a picture or a sentence, within bounds.

TILEFARM_FUZZ=1000 python -m pytest tests/image/test_fuzzed_pictures.py   # so many of each format
TILEFARM_FUZZ_SEED=2 ...                                                  # others
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.mutations import mutants, png, png_chunks
from tests.picture_files import encoded

READER = Path(__file__).parents[1] / "picture_reader.py"
COUNT = int(os.environ.get("TILEFARM_FUZZ", "40"))
SEED = int(os.environ.get("TILEFARM_FUZZ_SEED", "1"))
ADDRESS_SPACE = 4 * 2**30
RESIDENT = 600 * 2**20
SECONDS_PER_FILE = 10.0
FORMATS = ("jpg", "png", "tif", "webp", "gif", "avif")


def read_all(folder: Path, seconds: float = SECONDS_PER_FILE) -> list[dict[str, Any]]:
    """What the reader made of every picture of a folder, in one process. A crash fails the test."""
    command = [sys.executable, str(READER), str(folder), str(ADDRESS_SPACE), str(seconds)]
    # One thread: the stacks of many would count against the address space.
    environment = os.environ | {"VIPS_CONCURRENCY": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=READER.parents[1])
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"the reader ended with {done.returncode} on {records[-1:]}: {done.stderr}"
    assert done.stderr == ""
    return [record for record in records if record["result"] != "begun"]


@pytest.mark.parametrize("format", FORMATS)
def test_mutated_pictures(tmp_path: Path, format: str) -> None:
    pictures = [data for name, data in sorted(encoded().items()) if name.endswith(f".{format}")]
    for number, mutant in enumerate(mutants(pictures, COUNT, SEED)):
        (tmp_path / f"{number:05d}.{format}").write_bytes(mutant)
    records = read_all(tmp_path)
    assert len(records) == COUNT
    wrong = [record for record in records if record["result"] == "traceback" or "\n" in record["text"]]
    assert wrong == []
    assert max(record["peak"] for record in records) < RESIDENT
    assert {record["result"] for record in records} == {"picture", "sentence"}


def test_the_bounds_are_felt(tmp_path: Path) -> None:
    """A large picture takes more than no time at all: the reader is ended, and the test would fail."""
    (tmp_path / "large.png").write_bytes(_flat(6000, 6000))
    with pytest.raises(AssertionError, match=r"ended with -\d+ on .*large\.png"):
        read_all(tmp_path, seconds=0.01)


def test_bombs_need_no_memory(tmp_path: Path) -> None:
    """The largest pictures that are let in, from files of a few kilobytes to one megabyte."""
    (tmp_path / "flat.png").write_bytes(_flat(25_000, 4_000))
    chunks = [(b"zTXt", b"Comment\0\0" + zeros(200_000_000)), (b"iCCP", b"x\0\0" + zeros(200_000_000))]
    (tmp_path / "texts.png").write_bytes(
        png([next(png_chunks(_flat(10, 10))), *chunks, *_rest(_flat(10, 10))])
    )
    records = read_all(tmp_path, seconds=60)
    assert max(record["peak"] for record in records) < RESIDENT


def _flat(width: int, height: int) -> bytes:
    """A black grey PNG."""

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return png([(b"IHDR", header), (b"IDAT", zeros((width + 1) * height)), (b"IEND", b"")])


def _rest(data: bytes) -> list[tuple[bytes, bytes]]:
    return list(png_chunks(data))[1:]


def zeros(count: int) -> bytes:
    """So many zero bytes, compressed by zlib."""

    packer = zlib.compressobj(1)
    block = bytes(1 << 20)
    parts = [packer.compress(block[: min(len(block), count - at)]) for at in range(0, count, len(block))]
    return b"".join([*parts, packer.flush()])
