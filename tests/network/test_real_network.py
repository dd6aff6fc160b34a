"""A real cluster on a real network: machines die and join, cables are cut, and the picture is the same."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.network.clusters import TOKEN, Farm, Submission
from tests.network.lab import DATA, Lab, Machine, why_not
from tests.network.work import OUTPUT, write_job

CUT_SECONDS = 10.0
SLOW_MEGABITS = 20.0


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """The head, which has no cores."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Lab() as lab:
        yield Farm(lab, tmp_path_factory.mktemp("logs"))


@pytest.fixture
def pair(farm: Farm) -> list[Machine]:
    """Two machines that work; those of the test before, as far as they live."""
    there = [machine for machine in farm.workers if machine.is_up]
    return there + farm.add(*(f"worker{len(farm.workers) + more}" for more in range(2 - len(there))))


def submitted(farm: Farm, method: str) -> Submission:
    """The job, on its way. Its pictures, weights and run folder are on the head's disk and nowhere else."""
    write_job(farm.head.disk / method, method)
    return farm.submit(Path(method) / "job.yaml", method)


@contextmanager
def frozen(machine: Machine) -> Iterator[None]:
    """Its workers do not move meanwhile."""
    actors = [process for process in machine.processes() if process.name().startswith("ray::Actor")]
    assert actors
    for process in actors:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in actors:
            process.send_signal(signal.SIGCONT)


def count(run: Submission, kind: str, level: int = 1, **where: int) -> int:
    """Records of this kind, of the last level unless another is named."""
    where["level"] = level
    return sum(where.items() <= event.items() for event in run.events(kind))


def more(run: Submission, kind: str, number: int) -> Callable[[], bool]:
    """Whether there are so many more of them than now."""
    before = count(run, kind)
    return lambda: count(run, kind) >= before + number


def changes(run: Submission) -> list[str]:
    """What became of workers so far."""
    return [event["change"] for event in run.events("WorkerChanged")]


def mended_after_a_while(run: Submission, *machines: Machine) -> None:
    """Nothing is done without these machines, whose cables are cut; it goes on when they are whole again."""
    step = more(run, "StepTaken", 2)  # one may be done but for its record
    time.sleep(CUT_SECONDS)
    assert not step()
    for machine in machines:
        machine.mend()
    run.wait_for("a step after the cut", step)


def test_a_machine_dies_in_mid_round_and_another_joins(
    farm: Farm, pair: list[Machine], alone: Callable[[str], bytes]
) -> None:
    stays, dies = pair
    run = submitted(farm, "feathered")
    run.wait_for("the second round", lambda: count(run, "TileFinished", round=1) >= 2)
    with frozen(stays):  # so that nothing is done but by the machine that joins
        dies.kill()
        joined = changes(run).count("joined")
        (new,) = farm.add("newcomer")
        run.wait_for("the new machine has joined", lambda: changes(run).count("joined") > joined)
        run.wait_for("the new machine works", more(run, "TileFinished", 3))
    assert run.end() == 0, run.said
    assert (farm.head.disk / "feathered" / OUTPUT).read_bytes() == alone("feathered")
    assert "lost" in changes(run)
    assert not list(new.disk.rglob("*.png"))


def test_slow_cables_and_cut_ones_end_no_worker(
    farm: Farm, pair: list[Machine], alone: Callable[[str], bytes]
) -> None:
    first, second = pair
    run = submitted(farm, "exact")
    run.wait_for("the finer level", more(run, "StepTaken", 5))
    joined = changes(run)
    with first.slowed(SLOW_MEGABITS):
        run.wait_for("a step over the slow cable", more(run, "StepTaken", 2))
    first.cut()
    run.wait_for("the other one does all the work", more(run, "StepTaken", 2))
    second.cut()
    mended_after_a_while(run, first, second)
    assert changes(run) == joined
    second.kill()
    assert run.end() == 0, run.said
    assert (farm.head.disk / "exact" / OUTPUT).read_bytes() == alone("exact")
    assert set(changes(run)) <= {"joined", "lost", "gone"}


def test_parts_of_vectors_travel_between_machines(
    farm: Farm, pair: list[Machine], alone: Callable[[str], bytes]
) -> None:
    """A cut cable is waited for; what a dead machine had is done again by the other."""
    first, second = pair
    run = submitted(farm, "vectors")
    run.wait_for("the finer level", more(run, "StepTaken", 3))
    joined = changes(run)
    first.cut()
    mended_after_a_while(run, first)
    assert changes(run) == joined
    second.kill()
    assert run.end() == 0, run.said
    assert (farm.head.disk / "vectors" / OUTPUT).read_bytes() == alone("exact")
    assert "lost" in changes(run)
    (level,) = run.summary()["levels"][1:]
    assert level["traffic"]["between"] > 0
    assert level["traffic"]["gradients_back"] == 0


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"HOME": str(DATA / "tmp")}, "asks for a token and there is none here"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "does not take the token in RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_MODE": "disabled"}, "keeps it from being sent"),
    ],
)
def test_without_its_token_nobody_gets_in(farm: Farm, variables: dict[str, str], sentence: str) -> None:
    """From the head itself, whose Ray would serve a driver with the token."""
    folder = Path("refused")
    if not (farm.head.disk / folder).exists():
        write_job(farm.head.disk / folder, "exact")
    run = farm.submit(folder / "job.yaml", sentence, variables=variables)
    assert run.end() == 6, run.said
    assert sentence in run.said
    assert "Traceback" not in run.said
    assert TOKEN not in run.said
    assert run.events("RunStarted") == []


def test_a_driver_on_a_machine_that_is_not_in_the_cluster_is_told_so(farm: Farm) -> None:
    stranger = farm.outsider("stranger")
    write_job(stranger.disk / "outside", "exact")
    run = farm.submit(Path("outside") / "job.yaml", "outside", stranger)
    assert run.end() == 6, run.said
    assert f"run 'ray start --address={farm.address}' here first" in run.said
    assert "Traceback" not in run.said
