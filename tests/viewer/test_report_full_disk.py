"""Reports and galleries on a disk that is full, or whose writer is killed: the one before stays whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import full_report
from tests.full_report import digests
from tests.reported import small_run
from tilefarm.rundir.layout import RunDir

ROOT = Path(full_report.__file__).parents[1]
SECONDS = 120.0
MOUNTED = 'mount -t tmpfs -o size=4m,mode=700 tmpfs "$1" && shift && "$@"'


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunDir]:
    return [small_run(tmp_path_factory.mktemp("runs"), name) for name in ("gate", "bridge")]


@pytest.mark.parametrize("count", [1, 2])
def test_there_is_a_whole_one_or_the_one_before(tmp_path: Path, runs: list[RunDir], count: int) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody but root mount a small file system")
    prefix = [unshare, "-rm", "sh", "-c", MOUNTED, "sh", str(tmp_path)]
    chosen = [str(run.root) for run in runs[:count]]
    program = [*prefix, sys.executable, "-m", "tests.full_report", str(tmp_path), *chosen]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout)
    assert record["full"] > 8
    page = tmp_path / "page"
    assert record["told"] == [
        f"the disk became full while {page} was written; free some space and start it again"
    ]
    assert record["same"]


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
from tilefarm.cli import main
main()
"""


def test_a_full_disk_ends_the_command_with_five(tmp_path: Path, runs: list[RunDir]) -> None:
    """No file may be longer than a bound: a write in the middle of one fails as on a full disk."""
    command = [sys.executable, "-c", LIMITED, "20000", "report", str(runs[0].root)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "page")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5
    assert done.stderr == (
        f"error: the disk became full while {tmp_path / 'page'} was written; "
        "free some space and start it again\n"
    )
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from tilefarm.viewer import report_pictures
from tilefarm.cli import main
most, write = int(sys.argv.pop(1)), report_pictures.canvas_tiles
def killed(*arguments):
    global most
    zoom = write(*arguments)
    most -= 1
    if most == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return zoom
report_pictures.canvas_tiles = killed
main()
"""


@pytest.mark.parametrize("level", [1, 3])
def test_a_gallery_that_is_killed_leaves_the_one_before(
    tmp_path: Path, runs: list[RunDir], level: int
) -> None:
    """Killed in its first run, and in its second; started again it ends well."""
    page = tmp_path / "page"

    def write(most: int) -> int:
        roots = [str(run.root) for run in runs]
        program = [sys.executable, "-c", KILLED, str(most), "report", *roots, "--output", str(page)]
        return subprocess.run(program, cwd=ROOT, capture_output=True, check=False).returncode

    assert write(0) == 0
    complete = digests(page)
    (page / "index.html").write_text("the one before")
    before = digests(page)
    assert write(level) == -9
    assert digests(page) == before
    assert len([*tmp_path.iterdir()]) == 2, "the kill came in the middle"
    assert write(0) == 0
    assert digests(page) == complete
    assert [*tmp_path.iterdir()] == [page]
