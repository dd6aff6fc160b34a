"""No room on the disk, at any moment: an error with exit code 5, and the same picture when there is room."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import full_disk

ROOT = Path(full_disk.__file__).parents[1]
SECONDS = 120.0
MOUNTED = 'mount -t tmpfs -o size=6m,mode=700 tmpfs "$1" && cp -r "$2/." "$1" && shift 2 && "$@"'
JOB = """
content: content.png
style: style.png
output: {path: out.tif}
method: feathered
pyramid: {smallest: 64}
tiles: {size: 64, rounds: 2}
animation: {path: film.gif, seconds: 1}
"""


@dataclass(frozen=True)
class Told:
    """What the sessions told, and the pictures that they left."""

    full: list[str]
    left: list[str]
    pictures: dict[str, bytes]


Render = Callable[[str], Told]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    generator = np.random.default_rng(4)
    for name, size in (("content.png", (75, 100, 3)), ("style.png", (40, 60, 3))):
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(folder / name)
    (folder / "job.yaml").write_text(JOB)
    return folder


@pytest.fixture(scope="module")
def undisturbed(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The pictures with all the room there is, in all formats."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(sources, folder, dirs_exist_ok=True)
    return told(["env"], folder, "again").pictures


def told(prefix: list[str], folder: Path, how: str, keep: Path | None = None) -> Told:
    program = [sys.executable, "-c", PROGRAM, str(folder), how, str(keep or folder)]
    done = subprocess.run(
        [*prefix, *program], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout)
    pictures = {path.name: path.read_bytes() for path in (keep or folder).iterdir() if path.name in NAMES}
    return Told([Path(name).name for name in record["full"]], record["left"], pictures)


NAMES = {"out.tif", "film.gif", "again.tif", "again.png", "again.jpg"}
PROGRAM = """
import pathlib, shutil, sys
from tests.full_disk import main
main()
folder, keep = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[3])
if keep != folder:
    for path in folder.iterdir():
        if path.is_file():
            shutil.copy(path, keep)
"""


@pytest.fixture
def on_small_disk(sources: Path, tmp_path: Path) -> Render:
    """Renders on a file system of 6 MiB in memory, which only the program sees."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody but root mount a small file system")
    for name in ("disk", "kept"):
        (tmp_path / name).mkdir()
    prefix = [unshare, "-rm", "sh", "-c", MOUNTED, "sh", str(tmp_path / "disk"), str(sources)]
    return lambda how: told(prefix, tmp_path / "disk", how, tmp_path / "kept")


def assert_same(told: Told, undisturbed: dict[str, bytes]) -> None:
    assert told.left == [], "no temporary file is left"
    assert {"out.tif", "film.gif"} <= told.pictures.keys()
    assert told.pictures == {name: undisturbed[name] for name in told.pictures}


def test_a_disk_that_is_full_from_one_moment_to_the_next(
    on_small_disk: Render, undisturbed: dict[str, bytes]
) -> None:
    told = on_small_disk("suddenly")
    assert {"tiles.f32", "journal.jsonl"} <= {*told.full}
    assert any(name.startswith("level-") for name in told.full), "a snapshot or a preview"
    assert_same(told, undisturbed)


def test_a_disk_with_a_little_more_room_every_time(
    on_small_disk: Render, undisturbed: dict[str, bytes]
) -> None:
    told = on_small_disk("rising")
    assert {"lock", "job.yaml", "tiles.f32"} <= {*told.full}
    assert_same(told, undisturbed)


def test_every_format_of_the_picture_is_whole_or_not_there(
    on_small_disk: Render, undisturbed: dict[str, bytes]
) -> None:
    told = on_small_disk("again")
    assert {"again.png", "again.jpg", "again.tif"} <= {*told.full}
    assert told.pictures.keys() == undisturbed.keys()
    assert_same(told, undisturbed)


def test_files_that_may_not_grow(sources: Path, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    shutil.copytree(sources, tmp_path, dirs_exist_ok=True)
    told_there = told(["env"], tmp_path, "limited")
    assert {"job.yaml", "tiles.f32"} <= {*told_there.full}
    assert_same(told_there, undisturbed)
