"""Strange names, places and settings around the program: it works, or says so in one sentence."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.pieces import PieceMixer
from tests.program import Answer, Command, program
from tilefarm.driver import run_folder
from tilefarm.execute.local import LocalExecutor
from tilefarm.solve.weights import load_weights
from tilefarm.spec.load import load_job

JOB = {
    "content": "content.png",
    "style": "style.png",
    "output": {"path": "out.tif"},
    "method": "feathered",
    "pyramid": {"smallest": 64, "iterations": [2]},
    "tiles": {"size": 64, "rounds": 1, "iterations": 1},
}
_load_weights = cache(load_weights)
SIDE = (60, 80)
"""Of the content, in pixels: one tile."""

ROOT = Path(__file__).parents[1]

NAMES = {
    "spaces": "two  words ",
    "quotes": """it's "quoted" `here`""",
    "newline": "one\ntwo",
    "control characters": "a\tb\x1b[31mc",
    "combining": "cafe\u0301",
    "emoji": "\U0001f5bc\ufe0f\U0001f9d1\u200d\U0001f3a8",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u202eevil",
    "leading dash": "-n",
    "markup": "[bold]x[bold] :smile: %s $HOME ~ \\n",
    "255 bytes": "n" * 255,
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The program with a stand-in for its workers."""
    monkeypatch.setattr("tilefarm.driver.load_weights", _load_weights)
    monkeypatch.setattr("tilefarm.driver.open_executor", lambda *options: LocalExecutor(PieceMixer()))
    return program(monkeypatch, capfd)


def write_job(folder: Path, **keys: object) -> Path:
    """Pictures and a job file; JSON is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    job = {**JOB, **keys}
    generator = np.random.default_rng(7)
    for key in ("content", "style"):
        pixels = generator.integers(0, 256, (*SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / str(job[key]), format="png")
    path = folder / "job.yaml"
    path.write_text(json.dumps(job, ensure_ascii=False), encoding="utf-8")
    return path


def only_run(folder: Path) -> Path:
    (found,) = (folder / "runs").glob("*-????????")
    return found


def refused(answer: Answer) -> str:
    """The one sentence of an answer that did nothing."""
    assert answer.code in (1, 2, 5), answer.err
    (sentence,) = answer.told
    return sentence


# ---- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_any_folder_and_file_may_have_any_name(run: Command, tmp_path: Path, name: str) -> None:
    folder, short = tmp_path / name, name[:200]
    keys = {"content": f"{short}.png", "style": f"{short} 2.png", "output": {"path": f"{short}/{short}.tif"}}
    job = write_job(folder, name="plain", **keys)
    assert run("submit", job).code == 0
    target = folder / short / f"{short}.tif"
    pixels = tifffile.imread(target)
    assert pixels.shape == (*SIDE, 3)
    (record,) = run("status", "--json", only_run(folder)).records
    assert record["status"] == "done"
    assert record["output"] == str(target)
    target.unlink()
    assert run("resume", only_run(folder)).code == 0
    assert np.array_equal(tifffile.imread(target), pixels)


def test_a_folder_that_no_job_file_can_name(run: Command, tmp_path: Path) -> None:
    job = write_job(tmp_path / os.fsdecode(b"caf\xe9"))
    answer = run("submit", job)
    assert answer.code == 2
    (sentence,) = answer.told
    assert "the names of a job file and its folders must be UTF-8, got" in sentence
    assert sentence.endswith("rename it")
    assert "output.path" not in sentence


def test_a_run_folder_that_no_job_file_can_name(run: Command, tmp_path: Path) -> None:
    """Files of a run hold absolute paths, so that the name of its own folder does not matter."""
    job, runs = write_job(tmp_path), tmp_path / os.fsdecode(b"caf\xe9")
    assert run("submit", job, "--run-dir", runs).code == 0
    (tmp_path / "out.tif").unlink()
    (folder,) = runs.glob("*-????????")
    assert run("resume", folder).code == 0
    assert (tmp_path / "out.tif").exists()


def test_names_that_begin_with_a_dash(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_job(tmp_path, name="dashed").rename(tmp_path / "--job.yaml")
    monkeypatch.chdir(tmp_path)
    assert run("submit", "--", "--job.yaml").code == 0
    assert (tmp_path / "out.tif").exists()


# ---- places ---------------------------------------------------------------------------------------------


def test_a_run_folder_may_be_a_link_to_another_file_system(run: Command, tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not os.access(other, os.W_OK):
        pytest.skip("there is no second file system to write to")
    job = write_job(tmp_path)
    with tempfile.TemporaryDirectory(dir=other) as elsewhere:
        (tmp_path / "runs").symlink_to(elsewhere)
        assert run("submit", job).code == 0
        assert run("resume", only_run(tmp_path)).code == 0
        assert (only_run(tmp_path)).resolve().parent == Path(elsewhere).resolve()


@pytest.mark.parametrize(
    "obstacle", ["a file", "a dangling link", "a link to itself", "a folder like a lock"]
)
def test_something_is_in_the_run_folders_place(run: Command, tmp_path: Path, obstacle: str) -> None:
    job, runs = write_job(tmp_path), tmp_path / "runs"
    folder = run_folder(load_job(job), runs).root
    if obstacle == "a file":
        runs.write_text("mine")
    elif obstacle == "a dangling link":
        runs.symlink_to(tmp_path / "gone" / "away")
    elif obstacle == "a link to itself":
        runs.symlink_to(runs)
    else:
        (folder / "lock").mkdir(parents=True)
    sentence = refused(run("submit", job))
    assert str(runs) in sentence
    assert "--run-dir" in sentence
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, errno.EIO])
def test_a_file_system_without_locks(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    job = write_job(tmp_path)
    monkeypatch.setattr("fcntl.flock", refuse)
    sentence = refused(run("submit", job))
    assert str(tmp_path / "runs") in sentence
    assert os.strerror(number) in sentence
    assert "--run-dir" in sentence


def test_a_run_that_moved_goes_on_where_it_is(run: Command, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    assert run("submit", job).code == 0
    pixels = (tmp_path / "out.tif").read_bytes()
    moved = tmp_path / "else where" / only_run(tmp_path).name
    moved.parent.mkdir()
    shutil.copytree(only_run(tmp_path), moved)
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "out.tif").unlink()
    lines = (moved / "journal.jsonl").read_text().count('"tile"')
    assert run("resume", moved).code == 0
    assert (tmp_path / "out.tif").read_bytes() == pixels
    assert (moved / "journal.jsonl").read_text().count('"tile"') == lines  # no tile was painted again
    assert not (tmp_path / "runs").exists()


# ---- settings -------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys
from unittest.mock import patch
from tests.pieces import PieceMixer
from tilefarm.cli import main
from tilefarm.execute.local import LocalExecutor
if "--gone" in sys.argv:
    os.rmdir(sys.argv.pop())
    sys.argv.pop()
with patch("tilefarm.driver.open_executor", lambda *options: LocalExecutor(PieceMixer())):
    main()
"""
SETTINGS: dict[str, dict[str, str | None]] = {
    "the C locale, with ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "Turkish, with no home": {"LC_ALL": "tr_TR.UTF-8", "HOME": None, "TERM": None},
    "a dumb narrow terminal": {"TERM": "dumb", "COLUMNS": "1", "LINES": "1", "FORCE_COLOR": "1"},
    "no folder to write": {"HOME": "/proc", "XDG_CACHE_HOME": "/proc", "XDG_CONFIG_HOME": "/proc"},
}
Done = subprocess.CompletedProcess[str]


def process(before: Sequence[str | Path], *arguments: str | Path, **settings: str | None) -> Done:
    """The program in a process of its own, with a stand-in; `before` is put in front of the command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run(
        [*before, sys.executable, "-c", PROGRAM, *arguments],
        env={key: value for key, value in environment.items() if value is not None},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=300,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_of_a_process(tmp_path: Path, settings: dict[str, str | None]) -> None:
    folder = tmp_path / ("ISIM" if settings.get("LC_ALL") == "C" else "\u0130\u015fler \U0001f5bc")
    job = write_job(folder, name="ISIM")
    done = process([], "submit", job, **settings)
    assert done.returncode == 0, done.stderr
    assert tifffile.imread(job.parent / "out.tif").shape == (*SIDE, 3)


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    job, gone = write_job(tmp_path), tmp_path / "gone"
    gone.mkdir()
    done = process(["env", "-C", gone], "submit", job, "--gone", gone)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("place", "way_out"), [("runs", "--run-dir"), ("prints", "output.path")])
def test_a_folder_that_may_not_be_written(tmp_path: Path, place: str, way_out: str) -> None:
    """On a file system that is mounted read-only: that stops the superuser too."""
    job, folder = write_job(tmp_path, output={"path": "prints/out.tif"}), tmp_path / place
    folder.mkdir()
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    inside = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", folder)
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"], check=False).returncode:
        pytest.skip("this system lets nobody mount anything")
    done = process(inside, "submit", job)
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert str(folder) in sentence
    assert way_out in sentence
