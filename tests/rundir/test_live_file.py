"""live.json and the reading of logs that grow: never half a record, and nothing that stands in the way."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tilefarm.rundir.holder import Holder
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.rundir.live import LiveFile, read_live
from tilefarm.rundir.tail import Tail


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def mine() -> list[object]:
    holder = Holder.this_process()
    return [holder.process, holder.started]


def test_a_reader_never_sees_half_of_it(run: RunDir) -> None:
    file, over = LiveFile(run), threading.Event()
    file.write({"number": 0, "filling": ""})
    seen: list[int] = []

    def read() -> None:
        while not over.is_set():
            record = json.loads(run.live.read_bytes())
            assert len(record["filling"]) == record["number"]
            seen.append(record["number"])

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(2000):
        file.write({"number": number, "filling": "x" * number})
    over.set()
    reader.join()
    assert seen == sorted(seen)
    assert len(set(seen)) > 20
    assert sorted(path.name for path in run.root.iterdir()) == ["live.json"]
    file.remove()
    assert [*run.root.iterdir()] == []


def test_only_the_driver_that_holds_the_lock_is_believed(run: RunDir) -> None:
    assert read_live(run) == {}
    with RunLock(run):
        file = LiveFile(run)
        file.write({"driver": mine(), "share": 0.5})
        assert read_live(run)["share"] == 0.5
        for driver in ([1, "1"], [os.getpid(), "1"], None):
            file.write({"driver": driver, "share": 0.5})
            assert read_live(run) == {}
        for damage in (b"", b"[1]", b'{"driver":', b"\xff\xfe"):
            run.live.write_bytes(damage)
            assert read_live(run) == {}


PROGRAM = """
import resource, sys
from pathlib import Path
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.live import LiveFile
file = LiveFile(RunDir(Path(sys.argv[1])))
file.write({"text": "short"})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
file.write({"text": "long" * 1000})
"""


def test_a_full_disk_leaves_the_record_before(run: RunDir) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(run.root)], check=True)
    assert json.loads(run.live.read_bytes()) == {"text": "short"}


def test_the_umask_decides_who_reads_it(run: RunDir) -> None:
    before = os.umask(0o077)
    try:
        LiveFile(run).write({"text": "mine"})
    finally:
        os.umask(before)
    assert stat.S_IMODE(run.live.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written_is_left_alone(run: RunDir, tmp_path: Path) -> None:
    gone = LiveFile(RunDir(tmp_path / "gone"))
    gone.write({"text": "nowhere"})
    gone.remove()
    assert [*tmp_path.iterdir()] == []


def test_lines_come_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert [*tail.new()] == []
    path.write_bytes(b"one\ntwo\nthr")
    assert [*tail.new()] == [b"one", b"two"]
    assert [*tail.new()] == []
    with path.open("ab") as file:
        file.write(b"ee\n")
    assert [*tail.new()] == [b"three"]
    assert tail.restarts == 0


def test_a_log_that_was_cut_or_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    path.write_bytes(b"one\ntwo\n")
    assert len([*tail.new()]) == 2
    path.write_bytes(b"1\n")
    assert ([*tail.new()], tail.restarts) == ([b"1"], 1)
    (tmp_path / "new").write_bytes(b"first\nsecond\n")
    (tmp_path / "new").replace(path)
    assert ([*tail.new()], tail.restarts) == ([b"first", b"second"], 2)
