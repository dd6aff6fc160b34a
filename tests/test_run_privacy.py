"""What a run leaves on the disk: readable by whom the user's umask lets, and without the user's secrets."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

STANDINS = Path(__file__).with_name("standins.py")
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI-a1",
    "RAY_AUTH_TOKEN": "tok-9f8e7d6c",
    "MY_PASSWORD": "hunter2hunter2",
}
JOB = """\
content: content.png
style: style.png
output: {path: new/out.tif}
alpha: keep
color: content_luma
method: feathered
pyramid: {smallest: 64}
tiles: {size: 64, rounds: 2}
snapshots: 1
animation: films/film.gif
"""


def render(folder: Path, umask: int) -> list[Path]:
    """A whole render in a process with this umask; every file and folder that it made."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 96, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "content.png")
    Image.fromarray(pixels[..., :3]).save(folder / "style.png")
    (folder / "job.yaml").write_text(JOB)
    before = {*folder.rglob("*")}
    root = STANDINS.parents[1]
    done = subprocess.run(
        [sys.executable, str(STANDINS), str(folder / "job.yaml"), str(folder / "runs")],
        env=os.environ | SECRETS | {"PYTHONPATH": str(root)},
        umask=umask,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [path for path in folder.rglob("*") if path not in before]


@pytest.mark.parametrize("umask", [0o077, 0o022])
def test_the_umask_decides_and_nothing_secret_is_written(tmp_path: Path, umask: int) -> None:
    made = render(tmp_path, umask)
    assert {"out.tif", "film.gif", "run.json", "journal.jsonl", "job.yaml"} <= {path.name for path in made}
    too_open = [path for path in made if stat.S_IMODE(path.lstat().st_mode) & umask]
    assert too_open == []
    shared = [path for path in made if path.name in ("out.tif", "film.gif", "run.json")]
    for path in shared:  # and not tighter than asked for, where others are to have the picture
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    for path in (path for path in made if path.is_file()):
        content = path.read_bytes()
        for secret in SECRETS.values():
            assert secret.encode() not in content, path


FORBIDDEN = """
import os, sys
import tilefarm.batch, tilefarm.cancel, tilefarm.driver, tilefarm.exact.optimizer, tilefarm.report.console
import tilefarm.report.tables, tilefarm.submission
from tilefarm.cli import main
if os.geteuid() == 0:
    os.seteuid(65534)
main()
"""


@pytest.mark.parametrize("command", ["status", "cancel", "losses", "resume"])
@pytest.mark.parametrize("mode", [0o000, 0o600])
def test_a_folder_of_somebody_else_is_a_sentence(tmp_path: Path, command: str, mode: int) -> None:
    run = tmp_path / "runs" / "job-00000000"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (run / "lock").touch()
    tmp_path.chmod(0o755)
    run.chmod(mode)
    try:
        done = subprocess.run(
            [sys.executable, "-c", FORBIDDEN, command, str(run)], capture_output=True, text=True, cwd="/"
        )
    finally:
        run.chmod(0o700)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert str(run.parent) in done.stderr
    assert len(done.stderr.splitlines()) == 1
