"""Which runs a gallery is of, in what they differ, and what the command says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.program import Command, program
from tests.reported import job_text, painted, small_run, write_inputs
from tilefarm.errors import JobError
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.sweep import load_jobs
from tilefarm.viewer.gallery import write_gallery
from tilefarm.viewer.gallery_keys import MISSING, differing
from tilefarm.viewer.gallery_runs import runs_of
from tilefarm.viewer.settings_list import Leaf

SWEEP = "matrix: {objective.style_weight: [0.5, 2], color.mode: [style, statistics], method: [feathered]}\n"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return program(monkeypatch, capfd)


def sweep(folder: Path) -> Path:
    """A sweep's job file of which nothing is rendered."""
    write_inputs(folder)
    path = folder / "sweep.yaml"
    path.write_text(job_text("sweep").replace("method: feathered\n", "") + SWEEP)
    return path


def test_a_run_is_a_report_and_all_else_a_gallery(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    runs = tmp_path / "runs"
    (runs / "gate-00000000.old-1").mkdir()
    for name in ("job.yaml", "plan.json"):
        (runs / "gate-00000000.old-1" / name).touch()
    single = runs_of([run.root])
    assert (single.is_single, single.runs, single.place) == (True, (run,), run.root / "report")
    job = runs_of([tmp_path / "gate.yaml"])
    assert (job.is_single, job.runs) == (True, (run,))
    of_folder = runs_of([runs])
    assert (of_folder.is_single, of_folder.runs) == (False, (run,))
    assert of_folder.place == runs / "gallery"
    twice = runs_of([run.root, tmp_path / "runs" / ".." / "runs" / run.name, runs])
    assert (twice.is_single, twice.runs) == (False, (run,)), "each once"


def test_a_sweep_brings_its_keys_and_values(tmp_path: Path) -> None:
    chosen = runs_of([sweep(tmp_path)], ["seed=0"], tmp_path / "elsewhere")
    assert chosen.labels == ("style_weight", "mode"), "a key with one value is none that they differ in"
    assert chosen.values == (("0.5", "style"), ("0.5", "statistics"), ("2", "style"), ("2", "statistics"))
    assert {run.root.parent for run in chosen.runs} == {tmp_path / "elsewhere"}
    assert chosen.place == tmp_path / "elsewhere" / "sweep-gallery"


def test_what_is_no_run_is_refused_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "picture.png").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(JobError) as refused:
        runs_of([tmp_path / "picture.png", tmp_path / "empty", tmp_path / "nowhere"])
    assert [problem.split(" ", 1)[1] for problem in refused.value.problems] == [
        "is no run folder, no folder of runs and no job file; name one of them",
        "is no run folder and holds none; name a folder such as runs or runs/NAME-HASH",
        "is no run folder, no folder of runs and no job file; name one of them",
    ]
    with pytest.raises(JobError, match="no job file was named; remove them"):
        runs_of([tmp_path / "empty"], ["seed=1"])


def test_runs_differ_in_the_keys_with_several_values() -> None:
    one: dict[str, Leaf] = {
        "name": "a",
        "content": "/x/a.jpg",
        "seed": 1,
        "method": "exact",
        "init": None,
        "output.path": "/1",
    }
    two: dict[str, Leaf] = {
        "name": "b",
        "content": "/y/a.jpg",
        "seed": 1.0,
        "method": "exact",
        "init": "noise",
        "output.path": "/2",
    }
    three: dict[str, Leaf] = {
        "name": "c",
        "content": "/x/b.jpg",
        "seed": 1,
        "method": "feathered",
        "styles.1.weight": 2.0,
    }
    labels, values = differing([one, None, two, three])
    assert labels == ("content", "method", "init", "weight")
    assert values == [
        ("/x/a.jpg", "exact", "none", MISSING),
        (MISSING,) * 4,
        ("/y/a.jpg", "exact", "noise", MISSING),
        ("/x/b.jpg", "feathered", MISSING, "2.0"),
    ]
    _, short = differing([one, three])
    assert [row[0] for row in short] == ["a.jpg", "b.jpg"], "the file's name where that tells them apart"


def test_the_command_writes_a_report_and_a_gallery(tmp_path: Path, command: Command) -> None:
    run = small_run(tmp_path)
    answer = command("report", run.root)
    assert answer.code == 0
    page = run.root / "report" / "index.html"
    assert answer.out == f"wrote {page}; open it in a browser: {page.as_uri()}\n"
    gallery = tmp_path / "shown"
    answer = command("report", tmp_path / "runs", "--output", gallery, "--no-reports")
    assert (answer.code, answer.told) == (0, [f"1 of 1: {run.name}"])
    assert not (gallery / "runs").exists()
    assert (gallery / "tiles" / f"{run.name}_files" / "8" / "0_0.jpg").is_file()
    answer = command("report", run.root, "--output", tmp_path / "runs")
    assert answer.code == 2
    assert answer.err == (
        f"error: {tmp_path / 'runs'} is there already and is not a report of tilefarm, so it is not "
        "replaced; choose another place with --output\n"
    )


def test_a_run_that_cannot_be_shown_has_a_card_that_says_why(tmp_path: Path) -> None:
    path = sweep(tmp_path)
    done = painted_first(path)
    run_of_second = runs_of([path]).runs[1]
    damaged = small_run(tmp_path)
    damaged.job.write_text(damaged.job.read_text().replace("seed: 0", "seed: 1"))
    told: list[str] = []
    page = write_gallery(runs_of([path, damaged.root]), tmp_path / "gallery", False, told.append)
    assert told[0] == f"1 of 5: {done.name}"
    assert f"  {run_of_second.name} has not been started" in told
    assert "is not as tilefarm wrote it" in told[-1]
    record = json.loads(page.read_text().partition('id="data">')[2].partition("</script>")[0])
    assert [run["status"] for run in record["runs"]] == ["done", *["not shown"] * 4]
    assert [run["zoom"] is None for run in record["runs"]] == [False, True, True, True, True]
    with pytest.raises(JobError, match="has not been started"):
        write_gallery(runs_of([run_of_second.root.parent.parent / "sweep.yaml"], ["seed=3"]), None, False)


def painted_first(path: Path) -> RunDir:
    """The first run of a sweep, rendered from a job file of its own."""
    job = load_jobs(path).jobs[0]
    single = path.with_name("single.yaml")
    single.write_text(
        job_text(job.name).replace("output: {path", "objective: {style_weight: 0.5}\noutput: {path")
    )
    return painted(single)
