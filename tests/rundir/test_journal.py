"""The journal survives a crash at any byte and refuses everything else that is wrong."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tilefarm.errors import JobError, TilefarmError
from tilefarm.rundir.journal import (
    FORMAT,
    DamagedLineError,
    Exported,
    Journal,
    LevelStarted,
    RoundDone,
    Started,
    TileDone,
    read_journal,
    read_started,
)
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.mend import mend_journal
from tilefarm.sealed import sealed_json

Make = Callable[..., Any]

counts = st.integers(0, 10**6)
crcs = st.integers(0, 2**32 - 1)
losses = st.floats(allow_nan=False)  # NaN is never equal to itself; it has its own test
lines = st.one_of(
    st.builds(Started, batch=counts),
    st.builds(LevelStarted, level=counts, canvas_crc=crcs, targets_crc=crcs, seconds=losses),
    st.builds(
        TileDone,
        level=counts,
        round=counts,
        tile=counts,
        crc=crcs,
        loss_first=losses,
        loss_last=losses,
        rollbacks=counts,
        attempts=counts,
    ),
    st.builds(
        RoundDone,
        level=counts,
        round=counts,
        canvas_crc=crcs,
        loss_first=losses,
        loss_last=losses,
        seconds=losses,
    ),
    st.builds(Exported, bit_depth=counts, dpi=losses, seconds=losses),
)


def write(path: Path, *written: Any) -> None:
    with Journal(path) as journal:
        for one in written:
            journal.append(one)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(lines, max_size=6))
def test_lines_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, written: list[Any]) -> None:
    path = tmp_path_factory.mktemp("run") / "journal.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        write(path, *written)
    assert list(read_journal(path)) == written
    assert path.read_bytes().count(b"\n") == len(written)


def test_losses_that_are_not_finite_come_back(tmp_path: Path, line: Make) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, line(TileDone, level=0, round=0, tile=0, loss_first=math.inf, loss_last=math.nan))
    (found,) = read_journal(path)
    assert isinstance(found, TileDone)
    assert found.loss_first == math.inf
    assert math.isnan(found.loss_last)


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path / "journal.jsonl")) == []


def test_a_last_line_torn_at_any_byte_does_not_count_and_goes_when_the_run_goes_on(
    tmp_path: Path, line: Make
) -> None:
    first, second = line(LevelStarted, level=0), line(TileDone, level=0, round=0, tile=0)
    last, new = line(TileDone, level=0, round=0, tile=1), line(RoundDone, level=0, round=0)
    path = tmp_path / "journal.jsonl"
    write(path, first, second, last)
    whole = path.read_bytes()
    begin = whole[:-1].rindex(b"\n") + 1
    for cut in range(begin, len(whole)):
        path.write_bytes(whole[:cut])
        assert list(read_journal(path)) == [first, second], cut
        assert path.read_bytes() == whole[:cut], "reading must not change a run that another process writes"
        write(path, new)
        assert list(read_journal(path)) == [first, second, new], cut
        assert path.read_bytes()[:begin] == whole[:begin]
    path.write_bytes(whole)
    write(path, new)
    assert list(read_journal(path)) == [first, second, last, new]


def test_a_journal_that_is_one_torn_line_begins_anew(tmp_path: Path, line: Make) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"kind":"started","vers')
    assert list(read_journal(path)) == []
    write(path, line(LevelStarted, level=0))
    assert list(read_journal(path)) == [line(LevelStarted, level=0)]


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x00" * 40,
        b"\xff\xfe",
        b'{"kind":"tile","level":0',
        b'{"kind":"dream","level":0}',
        b'{"kind":"level","level":0,"canvas_crc":1,"targets_crc":2}',
        b'{"kind":"level","level":0,"canvas_crc":1,"targets_crc":2,"seconds":1,"mood":"good"}',
        b'{"kind":"level","level":0.5,"canvas_crc":1,"targets_crc":2,"seconds":1}',
        b"[1, 2]",
    ],
)
def test_a_damaged_line_before_the_last_is_refused_with_its_number(
    tmp_path: Path, line: Make, damaged: bytes
) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, line(LevelStarted, level=0), line(RoundDone, level=0, round=0))
    first, last = path.read_bytes().splitlines()
    path.write_bytes(first + b"\n" + damaged + b"\n" + last + b"\n")
    with pytest.raises(TilefarmError) as caught:
        list(read_journal(path))
    assert str(caught.value) == (
        f"line 2 of {path} is damaged; 'tilefarm resume {tmp_path}' does again what is lost"
    )


def test_a_flipped_bit_anywhere_in_a_line_is_found(tmp_path: Path, line: Make) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [line(Started), line(TileDone, level=0, round=0, tile=0), line(RoundDone, level=0, round=0)]
    write(path, *lines)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for place in range(first, whole.index(b"\n", first) + 1):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            with pytest.raises(DamagedLineError) as caught:
                list(read_journal(path))
            assert (caught.value.number, caught.value.offset) == (2, first), (place, bit)


def test_a_journal_of_the_version_before_is_read_and_goes_on_with_sums(tmp_path: Path, line: Make) -> None:
    path = tmp_path / "journal.jsonl"
    old = [line(Started), line(LevelStarted, level=0)]
    texts = [json.dumps(one.model_dump(exclude={"format", "gone_wrong"}, exclude_none=True)) for one in old]
    path.write_text("".join(text + "\n" for text in texts))
    new = [line(RoundDone, level=0, round=0), line(LevelStarted, level=1)]
    write(path, *new)
    assert list(read_journal(path)) == [*old, *new]
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b',"sum"')] + b"}\n")  # a line after one with a sum needs its own
    with pytest.raises(DamagedLineError, match="line 4"):
        list(read_journal(path))


@pytest.mark.parametrize("sealed", [False, True])
def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path, line: Make, sealed: bool) -> None:
    path = tmp_path / "journal.jsonl"
    for more in ({}, {"mood": "good"}):
        text = json.dumps(line(Started, format=FORMAT + 1).model_dump() | more)
        path.write_text((sealed_json(text) if sealed else text) + "\n")
        with pytest.raises(JobError) as caught:
            list(read_journal(path))
        assert str(caught.value) == (
            f"{tmp_path} was made by a newer tilefarm (format {FORMAT + 1}, this one reads up to {FORMAT}); "
            "install that version, or start anew elsewhere with --run-dir"
        )


@pytest.mark.parametrize("strange", [{"kind": "dream", "level": 0}, {"kind": "round", "mood": "good"}])
def test_a_whole_line_that_this_version_does_not_know_is_refused_and_not_cut_off(
    tmp_path: Path, line: Make, strange: dict[str, object]
) -> None:
    run = RunDir(tmp_path)
    write(run.journal, line(Started))
    with run.journal.open("a") as file:
        file.write(sealed_json(json.dumps(strange)) + "\n")
    before = run.journal.read_bytes()
    with pytest.raises(JobError, match=r"line 2 of .* is of a kind that tilefarm .* does not know"):
        mend_journal(run)
    assert run.journal.read_bytes() == before


def test_a_damaged_journal_is_kept_and_cut_off_before_the_damage(tmp_path: Path, line: Make) -> None:
    run = RunDir(tmp_path)
    lines = [line(Started), *(line(TileDone, level=0, round=0, tile=number) for number in range(4))]
    write(run.journal, *lines)
    assert mend_journal(run) is None
    for number, left in ((1, 3), (2, 1)):
        data = bytearray(run.journal.read_bytes())
        at = data.index(b'"tile":%d' % (left - 1)) if left > 1 else data.index(b'"tile"')
        data[at] ^= 5  # two bits
        run.journal.write_bytes(data)
        note = mend_journal(run)
        assert note is not None
        assert note.startswith(f"line {left + 1} of {run.journal} was damaged")
        assert note.endswith(f"kept as journal.damaged-{number}")
        assert run.damaged_journal(number).read_bytes() == data
        assert list(read_journal(run.journal)) == lines[:left]
        assert mend_journal(run) is None


def test_one_flipped_bit_costs_nothing(tmp_path: Path, line: Make) -> None:
    """Anywhere, the ends of lines included: a line that is cut in two, or two that are joined."""
    run = RunDir(tmp_path)
    write(run.journal, line(Started), line(TileDone, level=0, round=0, tile=0), line(Exported, path="J*.tif"))
    whole = run.journal.read_bytes()
    places = random.Random(7).sample(range(len(whole) - 1), 40)
    split = [(place, bit) for place in range(len(whole)) for bit in range(8) if whole[place] ^ 1 << bit == 10]
    assert split, "a byte that one bit makes the end of a line"
    ends = [(place, bit) for place in (whole.index(b"\n"), whole.index(b"\n") + 1) for bit in range(8)]
    for place, bit in [*((place, place % 8) for place in places), *ends, *split[:3]]:
        data = bytearray(whole)
        data[place] ^= 1 << bit
        run.journal.write_bytes(data)
        note = mend_journal(run)
        assert note is not None, (place, bit)
        assert "nothing is lost" in note, (place, bit, note)
        assert run.journal.read_bytes() == whole
        assert run.damaged_journal(1).read_bytes() == data
        run.damaged_journal(1).unlink()


def test_the_first_line_alone_is_read_with_its_sum_or_as_the_version_before_wrote_it(
    tmp_path: Path, line: Make
) -> None:
    path, started = tmp_path / "journal.jsonl", line(Started)
    assert read_started(path) is None
    write(path, started, line(LevelStarted, level=0))
    assert read_started(path) == started
    data = bytearray(path.read_bytes())
    data[9] ^= 1
    path.write_bytes(data)
    assert read_started(path) is None
    path.write_text(started.model_dump_json() + "\n")
    assert read_started(path) == started


def test_a_flipped_bit_in_each_of_several_lines_costs_nothing(tmp_path: Path, line: Make) -> None:
    run = RunDir(tmp_path)
    write(run.journal, line(Started), *(line(TileDone, level=0, round=0, tile=tile) for tile in range(4)))
    whole = run.journal.read_bytes()
    data = bytearray(whole)
    starts = [0, *(place + 1 for place, byte in enumerate(whole[:-1]) if byte == ord("\n"))]
    for start in starts[::2]:
        data[start + 9] ^= 1
    run.journal.write_bytes(data)
    note = mend_journal(run)
    assert note is not None
    assert note.startswith(f"a bit had flipped in line 1, 3, 5 of {run.journal}")
    assert run.journal.read_bytes() == whole


def test_a_line_is_durable_before_append_returns(
    tmp_path: Path, line: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    synced: list[int] = []
    with Journal(path) as journal:
        monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.stat().st_size))
        for number in range(3):
            journal.append(line(TileDone, level=0, round=0, tile=number))
            assert synced[-1] == path.stat().st_size
    assert len(set(synced)) == 3


def test_lines_that_are_appended_together_are_waited_for_once(
    tmp_path: Path, line: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [line(TileDone, level=0, round=0, tile=number) for number in range(3)]
    synced: list[list[Any]] = []
    with Journal(path) as journal:
        monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(list(read_journal(path))))
        journal.append(*lines)
    assert synced == [lines]


def test_a_system_that_writes_a_little_at_a_time(
    tmp_path: Path, line: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, bytes(data[:7])))
    path = tmp_path / "journal.jsonl"
    write(path, line(LevelStarted, level=0), line(LevelStarted, level=1))
    assert list(read_journal(path)) == [line(LevelStarted, level=0), line(LevelStarted, level=1)]


def test_a_full_disk_stops_the_run_and_costs_no_line_that_was_acknowledged(
    tmp_path: Path, line: Make
) -> None:
    program = """
import itertools, resource, sys
from pathlib import Path
from tilefarm.errors import ResourceError
from tilefarm.rundir.journal import Journal, LevelStarted
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))  # the kernel takes 1000 bytes
with Journal(Path(sys.argv[1])) as journal:
    try:
        for level in itertools.count():
            journal.append(LevelStarted(level=level, canvas_crc=1, targets_crc=2, seconds=0.5))
    except ResourceError as error:
        print(level, error)
"""
    path = tmp_path / "journal.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    count, _, sentence = done.stdout.strip().partition(" ")
    assert sentence == f"the disk became full while {path} was written; free some space and start it again"
    assert path.stat().st_size == 1000
    acknowledged = [line(LevelStarted, level=level) for level in range(int(count))]
    assert len(acknowledged) >= 8
    assert list(read_journal(path)) == acknowledged
    write(path, line(RoundDone, level=0, round=0))  # resumed, with space again
    assert list(read_journal(path)) == [*acknowledged, line(RoundDone, level=0, round=0)]


def test_every_line_that_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    program = """
import itertools, sys
from pathlib import Path
from tilefarm.rundir.journal import Journal, TileDone
with Journal(Path(sys.argv[1])) as journal:
    for tile in itertools.count():
        journal.append(TileDone(level=0, round=0, tile=tile, crc=0, loss_first=1, loss_last=1, rollbacks=0,
                                attempts=1))
        print(tile, flush=True)
"""
    path = tmp_path / "journal.jsonl"
    resumed_at = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            acknowledged = [int(text) for text in itertools.islice(process.stdout, 20)]
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert acknowledged == list(range(20))
        found = list(read_journal(path))[resumed_at:]
        assert [one.tile for one in _tiles(found)] == list(range(len(found)))
        assert len(found) >= 20
        resumed_at += len(found)


def _tiles(found: list[Any]) -> Iterator[TileDone]:
    for one in found:
        assert isinstance(one, TileDone)
        yield one


def test_lines_are_compact_json_that_names_its_kind(tmp_path: Path, line: Make) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, line(TileDone, level=2, round=1, tile=7))
    text = path.read_text()
    rest, _, _ = text.partition(',"sum"')
    sum_of_the_rest = f"{zlib.crc32(rest.encode()):08x}"
    assert json.loads(text) == {
        "sum": sum_of_the_rest,
        "kind": "tile",
        "level": 2,
        "round": 1,
        "tile": 7,
        "crc": 3,
        "loss_first": 9.0,
        "loss_last": 1.0,
        "rollbacks": 0,
        "attempts": 1,
        "gone_wrong": 0,
    }
    assert " " not in text
