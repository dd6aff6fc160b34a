"""Sweeps and folders from the command to the contact sheet, on workers without a network."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tilefarm.crew
from tests import standins
from tests.program import Command, program
from tests.standins import Mixer, opener
from tilefarm import driver, pauses
from tilefarm.batch import Entry, load_group
from tilefarm.crew import Crew
from tilefarm.driver import render, run_folder
from tilefarm.errors import ResourceError
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.open import ExecutorChoice
from tilefarm.execute.protocol import Batch, WorkerInfo
from tilefarm.export import export
from tilefarm.pauses import ask
from tilefarm.prepare import Prepared, estimate, prepare
from tilefarm.rundir.layout import RunDir
from tilefarm.solve.contract import LevelTargets, Precision, SolverSettings, Weights
from tilefarm.solve.tasks import Measurement, MeasureTask, TileSolution
from tilefarm.spec.sweep import load_jobs

FEW = "method: feathered\npyramid: {smallest: 64}\ntiles: {size: 64, rounds: 1, drift_correction: false}\n"
SWEEP = (
    "content: photo.png\nstyle: night.png\noutput: {path: out/p.png}\n"
    + FEW
    + "matrix:\n  objective.style_weight: [0.5, 1, 2]\n"
)
WEIGHTS = Weights({}, "caffe", "none")


class Counting(Mixer):
    """A Mixer that counts what it measures, and may fail while a job of some seed is painted."""

    def __init__(self, crew: Crews) -> None:
        super().__init__()
        self._crew = crew

    def info(self) -> WorkerInfo:
        return replace(super().info(), fast_precision=self._crew.fast)

    def measure(self, settings: SolverSettings, task: MeasureTask) -> Measurement:
        self._crew.measured[task.kind] = self._crew.measured.get(task.kind, 0) + 1
        return super().measure(settings, task)

    def solve(
        self, settings: SolverSettings, targets: LevelTargets, batch: Batch
    ) -> tuple[TileSolution, ...]:
        if settings.style_weight == self._crew.fails_at:
            raise RuntimeError("no paint left")
        return super().solve(settings, targets, batch)


class Open(LocalExecutor):
    def __init__(self, crews: Crews) -> None:
        super().__init__(Counting(crews))
        self._crews = crews

    def close(self) -> None:
        self._crews.closed += 1


@dataclass
class Crews:
    """What was opened, loaded and measured."""

    opened: list[tuple[Any, ...]] = field(default_factory=list)
    closed: int = 0
    loaded: int = 0
    measured: dict[str, int] = field(default_factory=dict)
    fails_at: float | None = None
    fast: Precision = "float32"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    generator = np.random.default_rng(4)
    for name, size in (("photo.png", (75, 100, 3)), ("night.png", (40, 60, 3)), ("scream.png", (60, 40, 3))):
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "job.yaml").write_text(SWEEP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def crews(monkeypatch: pytest.MonkeyPatch) -> Crews:
    """Stand-ins in the place of all shared workers."""
    crews = Crews()

    def open_executor(choice: ExecutorChoice, weights: Weights, *rest: object) -> Any:
        crews.opened.append((choice, weights.sha256, *rest[:2]))
        return Open(crews)

    def load_weights(*_: object) -> Weights:
        crews.loaded += 1
        return WEIGHTS

    for module in (tilefarm.crew, sys.modules[render.__module__]):
        monkeypatch.setattr(module, "open_executor", open_executor)
        monkeypatch.setattr(module, "load_weights", load_weights)
    return crews


@pytest.fixture
def tilefarm_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    return program(monkeypatch, capfd)


def alone(folder: Path, number: int) -> bytes:
    """The pixels of one run, rendered without a crew and without a cache."""
    job = load_jobs(folder / "job.yaml").jobs[number]
    elsewhere = job.output.model_copy(update={"path": folder / "alone.png"})
    job = job.model_copy(update={"output": elsewhere})
    worker = Mixer()
    run = run_folder(job, folder / "alone")
    render(job, run, ExecutorChoice("local"), lambda event: None, lambda *_: opener(worker)(WEIGHTS, 1))
    return pixels(folder / "alone.png")


def pixels(path: Path) -> bytes:
    """Without the file's record, which tells the weights apart."""
    with Image.open(path) as image:
        return bytes(image.tobytes())


# the runs of a matrix


def test_a_sweep_shares_workers_and_measurements(
    folder: Path, tilefarm_command: Command, crews: Crews
) -> None:
    answer = tilefarm_command("submit", "job.yaml", "--json", "--executor", "local")
    assert answer.code == 0
    assert [record["status"] for record in answer.records] == ["done"] * 3
    assert {record["sheet"] for record in answer.records} == {str(folder / "runs/job-sheet.png")}
    assert {record["job"] for record in answer.records} == {"job.yaml"}
    assert crews.opened == [(ExecutorChoice("local"), "none", "auto", None)]
    assert (crews.closed, crews.loaded) == (1, 1)
    shared = crews.measured["style"]
    for number, name in enumerate(("0.5", "1", "2")):
        ours = pixels(folder / f"out/p-style_weight-{name}.png")
        assert ours == alone(folder, number), "pixel for pixel as without the cache"
    assert crews.measured["content"] % 3 == 0
    assert shared == 1 + 2, "once per level of the pyramid, the second one in two pieces"
    assert not (folder / "runs/.cache").exists(), "nothing needs it any more"
    assert "run 2 of 3: job-style_weight-1" in answer.err
    assert f"contact sheet {folder / 'runs/job-sheet.png'}" in answer.err
    with Image.open(folder / "runs/job-sheet.png") as sheet:
        assert sheet.width > 2 * 100

    again = tilefarm_command("submit", "job.yaml", "--json")
    assert again.code == 0
    assert again.err.count("done already: ") == 3
    assert [one["run"] for one in again.records] == [one["run"] for one in answer.records]
    assert len(crews.opened) == 1


def test_runs_that_need_other_workers_get_them(folder: Path, tilefarm_command: Command, crews: Crews) -> None:
    (folder / "job.yaml").write_text(SWEEP + "  compute.workers: [1, 2]\n")
    assert tilefarm_command("submit", "job.yaml").code == 0
    assert [workers for *_, workers in crews.opened] == [1, 2] * 3
    assert crews.closed == 6


def test_the_failure_of_one_run_does_not_stop_the_next(
    folder: Path, tilefarm_command: Command, crews: Crews
) -> None:
    crews.fails_at = 1.0
    answer = tilefarm_command("submit", "job.yaml", "--json")
    assert answer.code == 4
    assert [record["status"] for record in answer.records] == ["done", "failed", "done"]
    assert len(crews.opened) == 2, "the workers that failed are not the next run's"
    assert (folder / "runs/.cache").exists(), "the failed run may still need it"
    assert "3 runs, 2 done" in answer.err
    assert "go on with: tilefarm submit job.yaml" in answer.err
    assert Path(answer.records[1]["sheet"]).exists()

    crews.fails_at = None
    before = dict(crews.measured)
    again = tilefarm_command("submit", "job.yaml", "--json")
    assert again.code == 0
    assert again.err.count("done already: ") == 2
    assert crews.measured["style"] == before["style"], "read from the cache of the first submission"
    assert not (folder / "runs/.cache").exists()


def test_mistakes_of_any_run_are_told_before_anything_starts(
    folder: Path, tilefarm_command: Command, crews: Crews
) -> None:
    (folder / "broken.png").write_text("no picture")
    (folder / "job.yaml").write_text(SWEEP + "  style: [night.png, broken.png]\n")
    answer = tilefarm_command("submit", "job.yaml")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert f"{folder / 'broken.png'} is not a" in line
    assert not (folder / "runs").exists()
    (folder / "job.yaml").write_text(SWEEP + "  tiles.size: [64, 65]\n  seed: [1, -1]\n")
    answer = tilefarm_command("submit", "job.yaml")
    assert [line.split(": ")[1] for line in answer.err.splitlines()] == [
        "job.yaml, line 9",
        "job.yaml, line 10",
    ]
    assert crews.opened == []


PROGRAM = """
import sys
from pathlib import Path
import tilefarm.crew
from tests.standins import Mixer
from tilefarm.cli import main
from tilefarm.execute.local import LocalExecutor
from tilefarm.solve.contract import Weights

log, kill = Path(sys.argv.pop(1)), int(sys.argv.pop(1))
tilefarm.crew.open_executor = lambda *_: LocalExecutor(Mixer(log=log, kill_in_solve=kill))
tilefarm.crew.load_weights = lambda *_: Weights({}, "caffe", "none")
main()
"""


def submitted(folder: Path, kill: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, folder / "log", str(kill), "submit", folder / "job.yaml", "--json"],
        cwd=Path(standins.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_killed_sweep_goes_on_with_the_run_that_was_interrupted(folder: Path) -> None:
    solves = 1 + 5 * 4  # 50x38 whole, 100x75 in one round
    killed = submitted(folder, kill=solves + 9)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list((folder / "runs").glob("*/run.json"))) == 2
    done = submitted(folder, kill=0)
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)
    assert [record["status"] for record in records] == ["done"] * 3
    assert done.stderr.count("done already: ") == 1
    assert done.stderr.count("resuming job-") == 1
    assert len((folder / "log").read_text().splitlines()) == 3 * solves + 1, "only the killed tile twice"
    for number, name in enumerate(("0.5", "1", "2")):
        assert pixels(folder / f"out/p-style_weight-{name}.png") == alone(folder, number)
    assert Path(records[0]["sheet"]).exists()


def test_idle_workers_make_room(folder: Path, crews: Crews, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go where the next job's memory would not suffice beside what they hold, and stay elsewhere."""
    job = load_jobs(folder / "job.yaml").jobs[0]
    needs = estimate(prepare(job))
    crew = Crew(ExecutorChoice("local"), folder / "cache")
    crew.make_room(job, WEIGHTS, needs)
    for most, closed in ((4, 0), (1, 0), (0, 1), (None, 2)):

        def most_workers(*_: object, most: int | None = most) -> int:
            if most is None:
                raise ResourceError("too little")
            return most

        monkeypatch.setattr(tilefarm.crew, "most_workers", most_workers)
        crew.executor(job, WEIGHTS, 1)
        crew.make_room(job, WEIGHTS, needs)
        assert crews.closed == closed
    assert len(crews.opened) == 2


def test_all_runs_of_a_sweep_have_one_precision(
    folder: Path, tilefarm_command: Command, crews: Crews
) -> None:
    """Timed anew, `auto` may come out otherwise in another session; a sweep keeps what it began with."""

    def precisions(*overrides: str) -> list[str]:
        sets = [text for override in overrides for text in ("--set", override)]
        answer = tilefarm_command("submit", "job.yaml", "--json", *sets)
        assert answer.code == 0
        return [record["precision"] for record in answer.records]

    assert precisions() == ["float32"] * 3
    crews.fast = "bfloat16"
    (folder / "job.yaml").write_text(SWEEP.replace("[0.5, 1, 2]", "[4, 0.5, 1, 2]"))
    assert precisions() == ["float32"] * 4
    assert precisions("compute.precision=bfloat16") == ["bfloat16"] * 4, "what the job says comes first"
    (folder / "job.yaml").write_text(SWEEP)
    assert precisions("seed=7") == ["bfloat16"] * 3, "another sweep decides for itself"


def test_another_device_is_another_decision(folder: Path, crews: Crews) -> None:
    jobs = load_jobs(folder / "job.yaml").jobs
    runs = [(job, run_folder(job, folder / "runs")) for job in jobs]
    crew = Crew(ExecutorChoice("local"), folder / "cache", runs)
    assert crew.precision(jobs[0]) is None, "none was started"
    runs[0][1].root.mkdir(parents=True)
    runs[0][1].journal.write_text("damaged\n")
    render(jobs[1], runs[1][1], ExecutorChoice("local"), lambda event: None, opener(Mixer()))
    assert crew.precision(jobs[2]) == "float32"
    compute = jobs[2].compute.model_copy(update={"device": "cuda"})
    assert crew.precision(jobs[2].model_copy(update={"compute": compute})) is None


def test_a_collage_of_two_runs(folder: Path, tilefarm_command: Command, crews: Crews) -> None:
    runs = [record["run"] for record in tilefarm_command("submit", "job.yaml", "--json").records]
    answer = tilefarm_command("collage", *runs[:2], "--height", "50", "--output", "c.jpg")
    assert (answer.code, answer.out) == (0, f"wrote {folder / 'c.jpg'}\n")
    with Image.open("c.jpg") as image:
        assert image.size == (67 + 2 + 75 + 2 + 67, 50 + 2 + 50)
    answer = tilefarm_command("collage", runs[0], "nowhere")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {folder / 'nowhere'} is not the folder of a run")


# folders


def test_a_folder_of_jobs(folder: Path, tilefarm_command: Command, crews: Crews) -> None:
    jobs = folder / "jobs"
    jobs.mkdir()
    head = SWEEP.replace("photo", "../photo").replace("night", "../night").replace("p.png", "{name}.png")
    head = head.replace("output: {path: out/{name}.png}", "output:\n  path: out/{name}.png")
    (jobs / "b.yml").write_text(head)
    (jobs / "a.yaml").write_text(head.split("matrix")[0] + "seed: 3\n")
    (jobs / "c.yaml").write_text("content: 5\n")
    (jobs / "d.yaml").write_text(head.split("matrix")[0].replace("{name}", "a"))
    (jobs / "notes.txt").write_text("nothing")
    answer = tilefarm_command("submit", "jobs", "--json")
    assert answer.code == 2
    assert [Path(record["job"]).name for record in answer.records] == [
        *("a.yaml", "b.yml", "b.yml", "b.yml"),
        *("c.yaml", "d.yaml"),
    ]
    assert [record["status"] for record in answer.records] == ["done"] * 4 + ["failed"] * 2
    assert re.search(r"d\.yaml: writes .*a\.png, as jobs/a\.yaml does", answer.err)
    sheet = jobs / "runs/jobs-sheet.png"
    assert {record["sheet"] for record in answer.records} == {str(sheet)}
    with Image.open(sheet) as image:
        assert image.width > 3 * 100, "six cells in three columns"
    assert len(crews.opened) == 1
    assert {path.name for path in (jobs / "out").iterdir()} == {
        "a.png",
        *(f"b-style_weight-{weight}.png" for weight in ("0.5", "1", "2")),
    }


def test_an_empty_folder_is_told(folder: Path, tilefarm_command: Command) -> None:
    (folder / "empty").mkdir()
    answer = tilefarm_command("submit", "empty")
    assert answer.code == 2
    assert answer.err == "error: empty holds no job file; job files end in .yaml or .yml\n"


def test_an_ordinary_job_has_no_sheet_and_no_cache(folder: Path) -> None:
    (folder / "job.yaml").write_text(SWEEP.split("matrix")[0])
    group = load_group(folder / "job.yaml")
    assert (group.sheet, group.cache) == (None, None)
    (entry,) = group.entries
    assert isinstance(entry, Entry)
    assert entry.run == run_folder(entry.job, folder / "runs")


def test_run_folders_and_sheet_elsewhere(folder: Path) -> None:
    group = load_group(folder / "job.yaml", run_dir=folder / "disk")
    assert group.sheet == folder / "disk/job-sheet.png"


# plan


def test_the_plan_of_a_sweep(folder: Path, tilefarm_command: Command) -> None:
    (folder / "job.yaml").write_text(SWEEP + "  output.width: [100, 200]\n")
    answer = tilefarm_command("plan", "--no-calibrate", "job.yaml")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[0] == "job: 6 runs"
    assert "job-style_weight-2-width-200" in answer.out
    record = json.loads(tilefarm_command("plan", "--no-calibrate", "--json", "job.yaml").out)
    assert record["count"] == len(record["runs"]) == 6
    assert [
        run["output"]["width"] if isinstance(run["output"], dict) else None for run in record["runs"]
    ] == [*(100, 200) * 3]
    assert record["total"]["flop"] == pytest.approx(sum(run["flop"] for run in record["runs"]))
    assert record["total"]["disk_bytes"] == sum(run["disk_bytes"] for run in record["runs"])
    assert not (folder / "runs").exists()


def test_a_pause_that_comes_too_late_for_a_run_is_taken_by_the_next(
    folder: Path, crews: Crews, tilefarm_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for while a picture is written: the run is done, and the sweep rests before the one after it."""
    rested: list[tuple[str, int]] = []
    exported: list[RunDir] = []

    def export_slowly(prepared: Prepared, run: RunDir, *rest: Any) -> None:
        exported.append(run)
        if len(exported) != 2:
            ask(run)
        export(prepared, run, *rest)

    def sleep(_: float) -> None:
        for path in (folder / "runs").glob("*/pause"):
            rested.append((path.parent.name, len(exported)))
            path.unlink()

    monkeypatch.setattr(driver, "export", export_slowly)
    monkeypatch.setattr(pauses, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    assert tilefarm_command("submit", "job.yaml").code == 0
    assert len(exported) == 3
    assert rested == [(exported[1].name, 1)], (
        "before the second, which has nothing painted; the third has no next"
    )
    assert not [*(folder / "runs").glob("*/pause")]
