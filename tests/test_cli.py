"""The commands as people and scripts meet them: sentences, exit codes, and what is on which stream."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tilefarm
import tilefarm.driver
from tests.echo import EchoExecutor
from tests.program import Answer, Command, program
from tilefarm.driver import Outcome
from tilefarm.errors import ClusterError, IncompleteError, ResourceError, StoppedError, TileFailedError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.rundir.state import RunState
from tilefarm.rundir.summary import summarize, write_summary
from tilefarm.solve.contract import Weights
from tilefarm.spec.load import load_job

LARGE = ("--set", "output.width=6000", "--set", "method=feathered")
MINIMAL = "content: photo.jpg\nstyle: painting.png\noutput: {path: out/picture.png}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two pictures and a job."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", quality=95)
    Image.fromarray(pixels[::-1, :80]).save(tmp_path / "painting.png")
    (tmp_path / "job.yaml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tilefarm_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    return program(monkeypatch, capfd)


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


# version, help, usage


def test_version(tilefarm_command: Command) -> None:
    assert tilefarm_command("version") == Answer(0, f"{tilefarm.__version__}\n", "")


def test_help_names_every_command(tilefarm_command: Command) -> None:
    answer = tilefarm_command("--help")
    assert answer.code == 0
    for command in ("submit", "resume", "plan", "status", "init", "doctor", "version"):
        assert re.search(rf"\b{command}\b", answer.out)


@pytest.mark.parametrize("arguments", [["paint"], ["submit"], ["plan", "--colour", "job.yaml"], ["resume"]])
def test_wrong_usage_ends_with_2_on_standard_error(tilefarm_command: Command, arguments: list[str]) -> None:
    answer = tilefarm_command(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Usage" in answer.err


# mistakes


def test_every_mistake_of_a_job_is_told_at_once(folder: Path, tilefarm_command: Command) -> None:
    (folder / "job.yaml").write_text(
        "content: missing.jpg\nstyle: painting.png\noutput: {path: out/picture.png, widht: 5}\n"
        "tiles: {size: 500}\nseed: -1\n"
    )
    before = everything(folder)
    for command in (["submit"], ["plan", "--no-calibrate"], ["plan", "--json"], ["submit", "--json"]):
        answer = tilefarm_command(*command, "job.yaml")
        assert answer.code == 2
        assert len(answer.told) == 4
        assert all(line.startswith("error: job.yaml, line ") for line in answer.told)
        for line, word in zip(
            answer.told, ("missing.jpg", "widht", "multiple of 16, got 500", "seed"), strict=True
        ):
            assert word in line
    assert everything(folder) == before


@pytest.mark.parametrize("command", [["submit"], ["plan", "--no-calibrate"]])
def test_a_missing_job_file_is_one_sentence(
    folder: Path, tilefarm_command: Command, command: list[str]
) -> None:
    answer = tilefarm_command(*command, "nowhere.yaml")
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.told) == 1
    assert "nowhere.yaml" in answer.err


def test_a_wrong_override_is_told_by_its_name(tilefarm_command: Command) -> None:
    answer = tilefarm_command("plan", "--no-calibrate", "job.yaml", "--set", "tiles.size=77")
    assert answer.code == 2
    assert "tiles.size=77" in answer.err


def test_an_address_and_no_ray_contradict_each_other(folder: Path, tilefarm_command: Command) -> None:
    for command, argument in (("submit", "job.yaml"), ("resume", "runs/x")):
        answer = tilefarm_command(command, argument, "--executor", "local", "--address", "host:6379")
        assert (answer.code, answer.out) == (2, "")
        assert len(answer.told) == 1
        assert "--address" in answer.err
        assert "--executor local" in answer.err
    assert not (folder / "runs").exists()


def test_resuming_what_is_no_run(folder: Path, tilefarm_command: Command) -> None:
    (folder / "mine").mkdir()
    for name in ("mine", "missing", "photo.jpg"):
        answer = tilefarm_command("resume", name)
        assert (answer.code, answer.out) == (2, "")
        (line,) = answer.told
        assert f"{folder / name} is not a run folder" in line
    assert everything(folder) == {"photo.jpg", "painting.png", "job.yaml", "mine"}


def truncated_jpeg(path: Path) -> None:
    data = (path.parent / "photo.jpg").read_bytes()
    path.write_bytes(data[: len(data) // 2])


def text(path: Path) -> None:
    path.write_text("This is not a picture at all.\n" * 20)


def bomb(path: Path) -> None:
    """A PNG of a few hundred bytes that claims 900 megapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")
    )


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("key", ["content", "style"])
@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("half.jpg", truncated_jpeg, "truncated"),
        ("text.png", text, "is not a JPEG, PNG"),
        ("bomb.png", bomb, "30000x30000 (900 megapixels)"),
        ("empty.tif", empty, "is empty"),
    ],
)
def test_a_broken_picture_is_found_before_anything_is_made(
    folder: Path, tilefarm_command: Command, key: str, name: str, make: Callable[[Path], None], says: str
) -> None:
    make(folder / name)
    before = everything(folder)
    for command in (["submit"], ["plan", "--no-calibrate"]):
        answer = tilefarm_command(*command, "job.yaml", "--set", f"{key}={name}")
        assert (answer.code, answer.out) == (2, "")
        (line,) = answer.told
        assert line.startswith(f"error: {key}: {folder / name} ")
        assert says in line
    assert everything(folder) == before, "neither a run folder nor an output may appear"


def test_both_broken_pictures_are_told(folder: Path, tilefarm_command: Command) -> None:
    text(folder / "photo.jpg")
    empty(folder / "painting.png")
    answer = tilefarm_command("submit", "job.yaml")
    assert answer.code == 2
    assert [line.split(":")[1].strip() for line in answer.told] == ["content", "style"]


# several jobs


def test_a_broken_job_does_not_stop_the_next(folder: Path, tilefarm_command: Command) -> None:
    (folder / "first.yaml").write_text("content: 5\n")
    text(folder / "photo.jpg")
    answer = tilefarm_command("submit", "first.yaml", "missing.yaml", "job.yaml", "--json")
    assert answer.code == 2
    assert any("first.yaml" in line for line in answer.told)
    assert any("missing.yaml" in line for line in answer.told)
    assert "photo.jpg" in answer.told[-1]
    records = json.loads(answer.out)
    assert [record["job"] for record in records] == ["first.yaml", "missing.yaml", "job.yaml"]
    assert {record["status"] for record in records} == {"failed"}


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception | None]:
    """Replaces the rendering: by the job's name what happens, None for a good end."""
    ends: dict[str, Exception | None] = {}

    def render(job: Any, run: RunDir, choice: ExecutorChoice, listen: object, **_: object) -> Outcome:
        end = ends.pop(job.name)
        if end is not None:
            raise end
        return Outcome(run, job.output.path, already_done=True)

    monkeypatch.setattr(tilefarm.driver, "render", render)
    return ends


def test_the_exit_code_is_the_first_failures(
    folder: Path, tilefarm_command: Command, rendered: dict[str, Exception | None]
) -> None:
    for name in "abcd":
        (folder / f"{name}.yaml").write_text(MINIMAL.replace("picture", name))
    rendered |= {"a": None, "b": TileFailedError("tile 3 failed"), "c": ResourceError("no disk"), "d": None}
    answer = tilefarm_command("submit", *(f"{name}.yaml" for name in "abcd"))
    assert answer.code == 4
    assert rendered == {}, "all were tried"
    assert answer.told[0] == f"done already: {folder / 'out' / 'a.png'}"
    assert answer.told[1] == "error: tile 3 failed"
    assert re.fullmatch(rf"resume with: tilefarm resume {folder}/runs/b-[0-9a-f]{{8}}", answer.told[2])
    assert answer.told[3] == "error: no disk"
    assert answer.told[5] == f"done already: {folder / 'out' / 'd.png'}"


def test_a_signal_stops_all_jobs(
    folder: Path, tilefarm_command: Command, rendered: dict[str, Exception | None]
) -> None:
    (folder / "next.yaml").write_text(MINIMAL)
    rendered |= {"job": StoppedError("stopped by SIGTERM", 15), "next": None}
    answer = tilefarm_command("submit", "job.yaml", "next.yaml")
    assert answer.code == 143
    assert rendered == {"next": None}, "the second must not begin"
    assert answer.told[0] == "stopped by SIGTERM"
    assert answer.told[1].startswith("resume with: tilefarm resume ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (IncompleteError("no worker is left"), 3),
        (TileFailedError("tile 1 failed 3 times"), 4),
        (ResourceError("no memory"), 5),
        (ClusterError("no cluster"), 6),
        (StoppedError("stopped by SIGINT", 2), 130),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(
    tilefarm_command: Command, rendered: dict[str, Exception | None], error: Exception, code: int
) -> None:
    rendered["job"] = error
    answer = tilefarm_command("submit", "job.yaml")
    assert (answer.code, answer.out) == (code, "")
    assert str(error) in answer.told[0]
    assert "tilefarm resume" in answer.told[1]


def test_the_run_folder_can_be_elsewhere(
    folder: Path, tilefarm_command: Command, rendered: dict[str, Exception | None]
) -> None:
    rendered["job"] = IncompleteError("x")
    answer = tilefarm_command("submit", "job.yaml", "--run-dir", folder / "disk")
    assert f"tilefarm resume {folder / 'disk' / 'job-'}" in answer.told[1]


# a whole run, with a worker that changes nothing


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> list[ExecutorChoice]:
    """Puts that worker in the place of all others; the choices that were asked for."""
    choices: list[ExecutorChoice] = []

    def open_executor(choice: ExecutorChoice, *_: object) -> Any:
        choices.append(choice)
        return EchoExecutor()

    monkeypatch.setattr(tilefarm.driver, "open_executor", open_executor)
    monkeypatch.setattr(tilefarm.driver, "load_weights", lambda *_: Weights({}, "caffe", "none"))
    return choices


def test_a_job_from_submission_to_done(
    folder: Path, tilefarm_command: Command, echo: list[ExecutorChoice]
) -> None:
    answer = tilefarm_command("submit", "job.yaml", "--json", "--set", "seed=1", "--address", "host:6379")
    assert answer.code == 0
    (record,) = json.loads(answer.out)
    assert record["status"] == "done"
    assert (record["width"], record["height"]) == (120, 90)
    assert record["output"] == str(folder / "out" / "picture.png")
    assert record["peak_rss_bytes"]["workers"] == [5]
    assert [level["rounds_done"] for level in record["levels"]] == [1]
    assert "rendering job-" in answer.err
    assert "wrote " in answer.err
    assert echo == [ExecutorChoice("ray", "host:6379")]
    with Image.open("out/picture.png") as made, Image.open("photo.jpg") as photo:
        difference = np.asarray(made).astype(int) - np.asarray(photo)
    assert np.abs(difference).max() <= 1, "the worker changed nothing and neither may we"

    run = record["run"]
    again = tilefarm_command("submit", "job.yaml", "--set", "seed=1", "--executor", "local")
    assert again == Answer(0, "", f"done already: {folder / 'out' / 'picture.png'}\n")
    assert tilefarm_command("resume", run) == again
    assert len(echo) == 1, "nothing was left to do"
    status = tilefarm_command("status", run)
    assert status.out.startswith(f"{run}: done, 120x90")
    assert status.out.endswith(f"  output {folder / 'out' / 'picture.png'}\n")

    # another picture, because another seed decides pixels
    assert tilefarm_command("submit", "job.yaml", "--executor", "local").code == 0
    assert echo[1:] == [ExecutorChoice("local", None)]
    assert len(list((folder / "runs").iterdir())) == 2


@pytest.mark.parametrize("damage", ["killed", "garbled", "removed"])
def test_a_finished_run_whose_record_does_not_say_so_is_put_right(
    folder: Path, tilefarm_command: Command, echo: list[ExecutorChoice], damage: str
) -> None:
    (record,) = json.loads(tilefarm_command("submit", "job.yaml", "--json").out)
    run = RunDir(Path(record.pop("run")))
    if damage == "killed":  # between the journal's last line and run.json
        run.summary.write_text(json.dumps(record | {"status": "running"}))
        assert "interrupted" in tilefarm_command("status", run.root).out
    elif damage == "garbled":
        run.summary.write_text("{")
    else:
        run.summary.unlink()
    assert tilefarm_command("resume", run.root).err.startswith("done already: ")
    assert tilefarm_command("status", run.root).out.startswith(f"{run.root}: done, ")
    assert len(echo) == 1


def test_only_one_submission_works_on_a_run(
    folder: Path, tilefarm_command: Command, echo: list[ExecutorChoice]
) -> None:
    assert tilefarm_command("submit", "job.yaml").code == 0
    run = tilefarm.driver.run_folder(load_job(folder / "job.yaml"), folder / "runs")
    with RunLock(run):
        answer = tilefarm_command("resume", run.root)
    assert answer.code == 2
    (line,) = answer.told
    assert line.startswith(f"error: {run.root} is being worked on by process {os.getpid()} on ")
    assert line.endswith(f"stop it with: tilefarm cancel {run.root}")
    assert len(echo) == 1


# plan


def test_the_plan_for_scripts(folder: Path, tilefarm_command: Command) -> None:
    answer = tilefarm_command("plan", "--no-calibrate", "--json", "job.yaml", *LARGE)
    assert (answer.code, answer.err) == (0, "")
    record = json.loads(answer.out)
    assert record.keys() >= {
        "content",
        "crop",
        "output",
        "tile_solves",
        "levels",
        "needs",
        "notes",
        "seconds",
    }
    assert record["needs"].keys() == {"worker_bytes", "driver_bytes", "disk_bytes", "flop"}
    assert record["content"] == {"width": 120, "height": 90}
    assert record["output"] == {"width": 6000, "height": 4500}
    assert [level["tiles"] for level in record["levels"]] == [1, 1, 4 * 4, 7 * 6, 13 * 10, 25 * 19]
    assert record["seconds"] is None
    assert record["calibration"] is None
    assert any("enlarged 50.0 times" in note for note in record["notes"])


def test_the_plan_for_people_starts_nothing(folder: Path, tilefarm_command: Command) -> None:
    before = everything(folder)
    answer = tilefarm_command("plan", "--no-calibrate", "job.yaml", *LARGE)
    assert (answer.code, answer.err) == (0, "")
    assert "120x90 -> 6000x4500" in answer.out
    assert "25x19=475" in answer.out
    assert "not estimated" in answer.out
    assert everything(folder) - before <= {"out"}
    assert not (folder / "out" / "picture.png").exists()


# init


def test_init_writes_a_job_that_loads_and_keeps_what_is_there(
    folder: Path, tilefarm_command: Command
) -> None:
    answer = tilefarm_command("init", "photo.jpg", "painting.png", "--job", "jobs/new.yaml")
    assert (answer.code, answer.err) == (0, "")
    assert "tilefarm submit jobs/new.yaml" in answer.out
    job = load_job(folder / "jobs" / "new.yaml")
    assert job.content.samefile("photo.jpg")
    assert job.styles[0].image.samefile("painting.png")
    assert job.output.path == folder / "jobs" / "photo-painting.tif"
    assert tilefarm_command("plan", "--no-calibrate", "jobs/new.yaml").code == 0

    (folder / "jobs" / "new.yaml").write_text("mine")
    refused = tilefarm_command("init", "photo.jpg", "painting.png", "--job", "jobs/new.yaml")
    assert (refused.code, refused.out) == (2, "")
    assert "exists already" in refused.err
    assert (folder / "jobs" / "new.yaml").read_text() == "mine"

    forced = tilefarm_command(
        "init", "photo.jpg", "painting.png", "--job", "jobs/new.yaml", "--force", "--output", "a.jpg"
    )
    assert forced.code == 0
    assert load_job(folder / "jobs" / "new.yaml").output.path.resolve() == folder.resolve() / "a.jpg"


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing.jpg", "painting.png"],
        ["photo.jpg", "job.yaml"],
        ["photo.jpg", "painting.png", "--output", "a.psd"],
    ],
)
def test_init_refuses_what_could_not_be_rendered(
    folder: Path, tilefarm_command: Command, arguments: list[str]
) -> None:
    answer = tilefarm_command("init", *arguments, "--job", "new.yaml")
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.told) == 1
    assert not (folder / "new.yaml").exists()


# status


def run_in_state(folder: Path, status: str, message: str | None = None) -> RunDir:
    from tilefarm.prepare import prepare

    job = load_job(folder / "job.yaml")
    run = tilefarm.driver.run_folder(job, folder / "runs")
    run.root.mkdir(parents=True, exist_ok=True)
    write_summary(run, summarize(job, prepare(job).plan, RunState(), status, 1, (), message))
    return run


def test_no_runs_is_no_mistake(tilefarm_command: Command) -> None:
    answer = tilefarm_command("status")
    assert (answer.code, answer.err) == (0, "")
    assert "no runs here" in answer.out
    assert json.loads(tilefarm_command("status", "--json").out) == []


def test_the_status_of_a_killed_run_is_interrupted(folder: Path, tilefarm_command: Command) -> None:
    run = run_in_state(folder, "running")
    shown = run.root.relative_to(folder)
    holder = "import sys; from pathlib import Path; from tilefarm.rundir.layout import RunDir, RunLock\n"
    holder += "with RunLock(RunDir(Path(sys.argv[1]))): print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(run.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert tilefarm_command("status").out.startswith(f"{shown}: running, 120x90")
        assert json.loads(tilefarm_command("status", "--json").out)[0]["status"] == "running"
        process.kill()
    answer = tilefarm_command("status")
    assert answer.code == 0
    assert answer.out.startswith(f"{shown}: interrupted, 120x90")
    assert f"tilefarm resume {shown}" in answer.out
    (record,) = json.loads(tilefarm_command("status", "--json", run.root).out)
    assert record["status"] == "interrupted"
    assert record["run"] == str(run.root)


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        ("done", None, "output "),
        ("failed", "tile 3 failed", "tile 3 failed"),
        ("cancelled", None, "cancelled"),
    ],
)
def test_the_status_of_an_ended_run(
    folder: Path, tilefarm_command: Command, status: str, message: str | None, says: str
) -> None:
    run = run_in_state(folder, status, message)
    before = {path: path.stat().st_mtime_ns for path in run.root.iterdir()}
    answer = tilefarm_command("status", run.root)
    assert answer.code == 0
    assert f": {status}, 120x90" in answer.out
    assert says in answer.out
    assert {path: path.stat().st_mtime_ns for path in run.root.iterdir()} == before, "looking changes nothing"


def test_the_status_of_folders_that_are_no_runs(folder: Path, tilefarm_command: Command) -> None:
    missing = tilefarm_command("status", "runs/nothing")
    assert (missing.code, missing.out) == (2, "")
    assert "there is no run folder runs/nothing" in missing.err
    (folder / "runs" / "new").mkdir(parents=True)
    assert tilefarm_command("status", "runs/new").out == "runs/new: not started\n"


def test_the_status_of_a_run_of_another_user_can_be_read(folder: Path, tilefarm_command: Command) -> None:
    run = run_in_state(folder, "done")
    lock = run.root / "lock"
    lock.touch()
    lock.chmod(0o444)
    if os.access(lock, os.W_OK):
        pytest.skip("this user may write everything")
    assert ": done, " in tilefarm_command("status", run.root).out


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"status": "done"}'])
def test_a_damaged_record_is_a_sentence(folder: Path, tilefarm_command: Command, damaged: bytes) -> None:
    run = run_in_state(folder, "done")
    run.summary.write_bytes(damaged)
    for options in ([], ["--json"]):
        answer = tilefarm_command("status", run.root, *options)
        assert answer.code == 1
        assert len(answer.told) == 1
        assert str(run.summary) in answer.err
