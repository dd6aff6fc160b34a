"""Flipped bits and cut-off files anywhere in a run folder: the same picture, or a refusal in words."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faulty import Server, drive, shortened, worker_for, write_job
from tests.standins import opener
from tilefarm.driver import load_run, render, run_folder
from tilefarm.errors import TilefarmError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

LEFT_AT = [
    ("feathered", "tile: line synced:30"),
    ("feathered", "blend: strip written:5"),
    ("means", "tile: line synced:13"),
    ("exact", "exact: state replaced:4"),
    ("exact", "exact: canvas replaced"),
    ("exact adam", "exact: state replaced:5"),
    ("exact cg", "exported: line written"),
]
EXAMPLES = 6


@pytest.fixture(scope="module", params=LEFT_AT, ids=lambda left: f"{left[0]}, {left[1]}")
def left(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, bytes]]:
    """A job and its run folder as a killed driver left it, and the picture that an undisturbed one makes."""
    kind, fault = request.param
    whole = write_job(tmp_path_factory.mktemp("whole"), kind)
    with shortened():
        drive(whole, kind)
    path = write_job(tmp_path_factory.mktemp("left"), kind)
    server = Server.start()
    assert server.drive(path, kind, fault=fault)[0] == -signal.SIGKILL
    server.close()
    yield kind, path, (whole.parent / "out.tif").read_bytes()
    shutil.rmtree(path.parent)


def resumed(kind: str, run: RunDir) -> None:
    """What `tilefarm resume` does."""
    job, _ = load_run(run)
    render(job, run, ExecutorChoice("local"), lambda event: None, opener(worker_for(kind)))


def files_of(run: RunDir) -> list[str]:
    files = [path for path in run.root.rglob("*") if path.is_file() and path.stat().st_size]
    return sorted(str(path.relative_to(run.root)) for path in files)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damage(left: tuple[str, Path, bytes], data: st.DataObject) -> None:
    kind, path, picture = left
    run = run_folder(load_job(path), path.parent / "runs")
    file = data.draw(st.sampled_from(files_of(run)), "file")
    share = data.draw(st.floats(0, 1, exclude_max=True), "where")
    bit = data.draw(st.none() | st.integers(0, 7), "bit, or cut off")
    with as_it_was(path):
        _damage(run.root / file, share, bit)
        with shortened():
            _check(kind, path, run, picture)


def test_what_was_removed_is_written_again(left: tuple[str, Path, bytes]) -> None:
    """All that is written for people, and what the job file says as well."""
    kind, path, picture = left
    run = run_folder(load_job(path), path.parent / "runs")
    with as_it_was(path):
        for file in (run.job, run.plan, run.events, run.summary):
            file.unlink(missing_ok=True)
        with shortened():
            drive(path, kind)
        assert (path.parent / "out.tif").read_bytes() == picture
        for file in (run.job, run.plan, run.summary, run.losses):
            assert file.exists(), file


@contextmanager
def as_it_was(path: Path) -> Iterator[None]:
    """Run folder and output of a job are put back after the block."""
    output = path.parent / "out.tif"
    with TemporaryDirectory(dir=path.parent) as spare:
        shutil.copytree(path.parent / "runs", Path(spare) / "runs")
        before = output.read_bytes() if output.exists() else None
        try:
            yield
        finally:
            shutil.rmtree(path.parent / "runs")
            shutil.copytree(Path(spare) / "runs", path.parent / "runs")
            output.unlink(missing_ok=True)
            if before is not None:
                output.write_bytes(before)


def _damage(file: Path, share: float, bit: int | None) -> None:
    content = bytearray(file.read_bytes())
    place = int(share * len(content))
    if bit is None:
        del content[place:]
    else:
        content[place] ^= 1 << bit
    file.write_bytes(content)


def _check(kind: str, path: Path, run: RunDir, picture: bytes) -> None:
    """Resumed to the same picture, or refused; and when the job is submitted again, the same picture."""
    try:
        resumed(kind, run)
    except TilefarmError as error:
        refusal = str(error)
    else:
        refusal = ""
    if "the snapshot" in refusal:  # the film is not made; the picture is
        assert "is damaged; remove it" in refusal
    elif refusal:
        assert "submit the job file" in refusal
        drive(path, kind)
    assert (path.parent / "out.tif").read_bytes() == picture
