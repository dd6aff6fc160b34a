"""The folder of a report: replaced as a whole or not at all, and never somebody's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tilefarm.errors import JobError
from tilefarm.viewer.report_folder import MARK, replacing_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make(target: Path, text: str) -> None:
    with replacing_folder(target) as folder:
        (folder / "index.html").write_text(text)


def test_a_report_replaces_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report"
    make(target, "one")
    (target / "extra.txt").write_text("of the first")
    make(target, "two")
    assert names(target) == ["index.html", MARK]
    assert (target / "index.html").read_text() == "two"
    assert names(target.parent) == ["report"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    make(tmp_path / "report", "one")
    assert (tmp_path / "report" / "index.html").is_file()


def test_a_folder_of_somebody_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "holiday"
    target.mkdir()
    (target / "beach.jpg").write_bytes(b"mine")
    with pytest.raises(JobError, match="holiday is there already and is not a report of tilefarm"):
        make(target, "one")
    assert names(tmp_path) == ["holiday"]
    assert names(target) == ["beach.jpg"]


def test_a_folder_that_somebody_makes_meanwhile_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "report"

    def make_meanwhile() -> None:
        with replacing_folder(target):
            target.mkdir()
            (target / "beach.jpg").write_bytes(b"mine")

    with pytest.raises(JobError, match="is not replaced"):
        make_meanwhile()
    assert names(tmp_path) == ["report"]
    assert names(target) == ["beach.jpg"]


def test_a_file_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine")
    with pytest.raises(JobError, match="is a file, and a report is a folder"):
        make(tmp_path / "report", "one")
    with pytest.raises(JobError, match="choose another place with --output"):
        make(tmp_path / "report" / "inner", "one")


def test_what_fails_leaves_the_report_before(tmp_path: Path) -> None:
    target = tmp_path / "report"
    make(target, "one")

    def fail() -> None:
        with replacing_folder(target) as folder:
            (folder / "index.html").write_text("two")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (target / "index.html").read_text() == "one"
    assert names(tmp_path) == ["report"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tilefarm.viewer.report_folder import replacing_folder
with replacing_folder(Path(sys.argv[1])) as folder:
    (folder / "index.html").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_one_leaves_the_report_before_and_is_cleared_up(tmp_path: Path) -> None:
    target = tmp_path / "report"
    make(target, "one")
    done = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert done.returncode == -9
    assert (target / "index.html").read_text() == "one"
    assert len(names(tmp_path)) == 2, "the kill came in the middle"
    (tmp_path / ".report.mine.part").mkdir()
    (tmp_path / ".report2.1.part").mkdir()
    make(target, "two")
    assert names(tmp_path) == [".report.mine.part", ".report2.1.part", "report"]


BETWEEN = """
import os, signal, sys
from pathlib import Path
from tilefarm.viewer import report_folder
rename = Path.rename
def killed_after(path, target):
    rename(path, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = killed_after
with report_folder.replacing_folder(Path(sys.argv[1])) as folder:
    (folder / "index.html").write_text("two")
"""


def test_one_that_is_killed_between_the_renames_loses_no_report(tmp_path: Path) -> None:
    target = tmp_path / "report"
    make(target, "one")
    done = subprocess.run([sys.executable, "-c", BETWEEN, str(target)], check=False)
    assert done.returncode == -9
    assert not target.exists(), "the kill came between the two renames"

    def fail() -> None:
        with replacing_folder(target):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (target / "index.html").read_text() == "one"
    assert names(tmp_path) == ["report"]


def test_a_link_leads_to_the_folder_that_is_replaced(tmp_path: Path) -> None:
    make(tmp_path / "real", "one")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "index.html").read_text() == "two"
