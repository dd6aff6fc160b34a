"""A real submit on real Ray workers: who could talk to it while it works."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

JOB = """\
content: content.png
style: style.png
output: {path: out.tif}
pyramid: {smallest: 64, iterations: [3]}
objective: {style_layers: {relu1_1: 1.0}, content_layers: {relu2_1: 1.0}}
compute: {workers: 1, device: cpu, precision: float32}
"""
SUBMIT = "import sys; from tilefarm.cli import main; sys.argv[0] = 'tilefarm'; main()"


def listening(process: psutil.Process) -> set[tuple[str, str, int]]:
    """(process, address, port) of everything that accepts connections in a tree of processes."""
    found = set()
    for one in [process, *process.children(recursive=True)]:
        try:
            sockets, name = one.net_connections("inet"), one.name()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # gone since
        for socket in sockets:
            bound = socket.status == psutil.CONN_LISTEN or (socket.type == 2 and not socket.raddr)
            if bound and socket.laddr:
                found.add((name, socket.laddr.ip, socket.laddr.port))
    return found


def is_loopback(text: str) -> bool:
    return ipaddress.ip_address(text.removeprefix("::ffff:").partition("%")[0]).is_loopback


def test_everything_of_a_submit_listens_on_loopback(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for name in ("content.png", "style.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "job.yaml").write_text(JOB)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    seen: set[tuple[str, str, int]] = set()
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-c", SUBMIT, "submit", str(tmp_path / "job.yaml")],
            env=clean,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        while process.poll() is None:
            try:
                seen |= listening(psutil.Process(process.pid))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.1)  # looks on, and waits for nothing
    assert process.returncode == 0, (tmp_path / "log").read_text()
    assert len({name for name, _, _ in seen}) >= 3, seen  # Ray's parts and a worker were caught
    assert [one for one in seen if not is_loopback(one[1])] == []
