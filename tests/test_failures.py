"""What failed for good is kept, read again bit for bit, and done again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.standins import Mixer, opener
from tilefarm.driver import render, run_folder
from tilefarm.errors import TileFailedError, TilefarmError
from tilefarm.events import Event, RunStarted, WorkerChange, WorkerChanged, WorkEvent
from tilefarm.execute.call import Call
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.open import ExecutorChoice
from tilefarm.execute.protocol import Batch, Keep
from tilefarm.failures import Failure, load_failure, save_failure
from tilefarm.geometry import Box
from tilefarm.solve.coding import Coding, coded_gradient, coded_pixels
from tilefarm.solve.contract import AdamSettings, LevelTargets, RegionMoments, SolverSettings
from tilefarm.solve.tasks import AdamMoments, Derivatives, MeasureTask, PieceTask, Recording, TileTask
from tilefarm.spec.load import load_job

RANDOM = np.random.default_rng(8)
SETTINGS = SolverSettings(
    "vgg19", "max", "float32", (("relu4_2", 0.1),), (("relu1_1", 1 / 3),), 1.0, 1e-30, 0.5, 5,
    optimizer="adam", adam=AdamSettings(0.02, (0.9, 0.99), 0.99), statistics=(("gram", 1.0), ("mean", 0.2)),
)  # fmt: skip


def picture(*shape: int) -> Any:
    return RANDOM.random(shape or (6, 5, 3), dtype=np.float32)


TARGETS = LevelTargets(
    "run-0", {"relu1_1": RegionMoments(picture(2, 3), picture(2, 3, 3))}, {"relu4_2": 0.1}, (0.25, 0.75)
)
TILES = (
    TileTask(3, picture(), picture(), 30, picture(6, 5, 2), AdamMoments(picture(), picture(), 7)),
    TileTask(4, picture(), picture(), 30, recording=Recording(5, Box(1, 1, 4, 5), 640)),
)
CODINGS: tuple[Coding, ...] = ("packed", "half")
CALLS = [
    Call("solve", SETTINGS, Batch(2, TILES), TARGETS),
    Call("measure", SETTINGS, MeasureTask(9, picture(), Box(0, 0, 5, 4), "style")),
    Call("piece_sums", SETTINGS, PieceTask(1, "key", Box(0, 0, 5, 4), None, picture(), 3), None, Keep(1, 2)),
    Call(
        "piece_gradient",
        SETTINGS,
        PieceTask(1, "key", Box(0, 0, 5, 4), picture(), picture(), 3, picture(6, 5, 1)),
        Derivatives({"relu1_1": picture(1, 3)}, {"relu1_1": picture(1, 3, 3)}, {"relu4_2": -0.5}),
        Keep(0, 0),
    ),
    *(
        Call(
            "piece_sums",
            SETTINGS,
            PieceTask(
                2,
                "key",
                Box(0, 0, 5, 4),
                coded_pixels(picture(), coding),
                coded_gradient(picture(), coding),
                coding=coding,
            ),
            keep=Keep(1, 2, 3),
        )
        for coding in CODINGS
    ),
]


def flat(value: Any) -> Any:
    """Something that is equal for equal things, arrays included."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in dataclasses.fields(value)]
        return type(value), {name: flat(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {key: flat(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(flat(each) for each in value)
    return value


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.kind)
def test_every_call_is_read_again_bit_for_bit(tmp_path: Path, call: Call) -> None:
    failure = Failure(call, 4, 1, "RuntimeError: Ærger “in” the machine")
    save_failure(tmp_path / "a b" / "c", failure)
    assert flat(load_failure(tmp_path / "a b" / "c")) == flat(failure)


def test_a_later_failure_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    for call in CALLS:
        save_failure(tmp_path, Failure(call, 0, 0, ""))
    assert flat(load_failure(tmp_path).call) == flat(CALLS[-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failure.json", "inputs.npz"]


def test_nothing_but_plain_data_is_read(tmp_path: Path) -> None:
    save_failure(tmp_path, Failure(CALLS[0], 0, 0, ""))
    with np.load(tmp_path / "inputs.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "inputs.npz", **(arrays | {"array-0000": np.array([object()])}))
    with pytest.raises(TilefarmError, match="does not hold a saved failure"):
        load_failure(tmp_path)


@pytest.mark.parametrize("damage", ["absent", "json", "npz", "class", "name"])
def test_what_is_no_saved_failure_is_refused_in_a_sentence(tmp_path: Path, damage: str) -> None:
    record, inputs = tmp_path / "failure.json", tmp_path / "inputs.npz"
    if damage != "absent":
        save_failure(tmp_path, Failure(CALLS[0], 0, 0, ""))
        if damage == "json":
            record.write_text(record.read_text()[:-9])
        elif damage == "npz":
            inputs.write_bytes(inputs.read_bytes()[:-99])
        elif damage == "class":
            record.write_text(record.read_text().replace('"Batch"', '"Popen"'))
        else:
            record.write_text(record.read_text().replace('"index"', '"indices"'))
    with pytest.raises(TilefarmError, match=r"does not hold a saved failure.*name a folder") as caught:
        load_failure(tmp_path)
    assert "\n" not in str(caught.value)


class Poisoned(Mixer):
    """Fails with tile 3 wherever there are several, in one round alone."""

    poison = True

    def solve(self, settings, targets, batch):  # type: ignore[no-untyped-def]
        if self.poison and any(task.index == 3 for task in batch.tasks) and targets.key.endswith("-1"):
            raise RuntimeError("poison\nin two lines")
        return super().solve(settings, targets, batch)


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    for name, size in (("content.png", (160, 120)), ("style.png", (48, 32))):
        Image.fromarray(RANDOM.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "job.yaml").write_text(
        "content: content.png\nstyle: style.png\noutput: {path: out.png}\nmethod: feathered\n"
        "pyramid: {smallest: 64}\ntiles: {size: 64, rounds: 2}\n"
    )
    return tmp_path / "job.yaml"


def test_a_run_that_fails_says_where_and_keeps_the_inputs(job_file: Path) -> None:
    job = load_job(job_file)
    run, choice, worker = run_folder(job, job_file.parent / "runs"), ExecutorChoice("local"), Poisoned()
    with pytest.raises(
        TileFailedError, match=r"^level 1, round 2: tile 3 failed 3 times.*two lines; its"
    ) as caught:
        render(job, run, choice, lambda event: None, opener(worker))
    (folder,) = run.failed.iterdir()
    assert caught.value.exit_code == 4
    assert str(caught.value).endswith(f"its inputs were saved in {folder}")
    assert json.loads(run.summary.read_text())["message"] == str(caught.value)

    failure = load_failure(folder)
    assert (failure.level, failure.round) == (0, 1)
    assert "poison" in failure.error
    with pytest.raises(RuntimeError, match="poison"):
        failure.call.on(worker)
    worker.poison = False
    solutions = {solution.index: solution.image for solution in failure.call.on(worker)}
    assert 3 in solutions

    render(job, run, choice, lambda event: None, opener(worker))
    undisturbed = run_folder(job, job_file.parent / "others")
    first = job.output.path.read_bytes()
    render(job, undisturbed, choice, lambda event: None, opener(Mixer()))
    assert job.output.path.read_bytes() == first


def test_inputs_that_cannot_be_saved_do_not_hide_the_failure(job_file: Path) -> None:
    job = load_job(job_file)
    run = run_folder(job, job_file.parent / "runs")

    def obstruct(event: Event) -> None:
        if isinstance(event, RunStarted):
            run.failed.write_text("in the way")

    with pytest.raises(TileFailedError, match=r"tile 3 failed 3 times.*its inputs could not be saved"):
        render(job, run, ExecutorChoice("local"), obstruct, opener(Poisoned()))


class Losing(LocalExecutor):
    """Tells of workers that come and go when the run begins."""

    def __init__(self, worker: Mixer, *changes: WorkerChange) -> None:
        super().__init__(worker)
        self._changes = changes

    def listen(
        self,
        listener: Callable[[WorkerChanged], None],
        on_work: Callable[[WorkEvent], None] = lambda event: None,
    ) -> None:
        for change in self._changes:
            listener(WorkerChanged(1, change, "because", 1))


def test_lost_workers_are_told_kept_and_counted_over_all_sessions(job_file: Path) -> None:
    job = load_job(job_file)
    run, choice = run_folder(job, job_file.parent / "runs"), ExecutorChoice("local")
    told: list[Any] = []
    first = Losing(Poisoned(), "lost", "back", "hung")
    with pytest.raises(TileFailedError):
        render(job, run, choice, told.append, lambda weights, most: first)
    assert [event.change for event in told if isinstance(event, WorkerChanged)] == ["lost", "back", "hung"]
    assert json.loads(run.summary.read_text())["worker_losses"] == 2
    render(job, run, choice, told.append, lambda weights, most: Losing(Mixer(), "lost", "set aside"))
    assert json.loads(run.summary.read_text())["worker_losses"] == 3
    lines = [json.loads(line) for line in run.events.read_text().splitlines()]
    kept = [line for line in lines if line["event"] == "WorkerChanged"]
    assert [line["change"] for line in kept] == ["lost", "back", "hung", "lost", "set aside"]
    assert (kept[0]["worker"], kept[0]["reason"], kept[0]["left"]) == (1, "because", 1)
