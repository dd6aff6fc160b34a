"""The chaos script: thirty rounds of it, and that it would notice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.chaos_monkey.__main__ import Options
from scripts.chaos_monkey.faults import (
    ALL_FAULTS,
    DAMAGES,
    STRIKES,
    Damage,
    Strike,
    Usual,
    draw_strikes,
    inflict,
)
from scripts.chaos_monkey.rounds import Result, Round, run_of
from tests.test_clocks import write_job

ROOT = Path(__file__).parents[1]
USUAL = Usual(events=60, files=300, seconds=2.0, work=40, in_flight=1)


def play(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.chaos_monkey", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )


def test_thirty_rounds_end_in_the_same_pictures(tmp_path: Path) -> None:
    done = play(30, 29, "--keep", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    *rounds, summary = done.stdout.splitlines()
    assert len(rounds) == 30
    assert all(line.endswith("| same") for line in rounds)
    assert "0 failed" in summary
    told = " ".join(rounds)
    assert all(fault in told for fault in (*STRIKES, *DAMAGES, "feathered", "exact"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--faults", "kill,fire"], "no fault is called fire"),
        (["--faults", "hang"], "needs --real"),
        (["--faults", "flip"], "add a fault that ends one"),
    ],
)
def test_what_cannot_be_played_is_said(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as end:
        Options.parse(["1", "1", *arguments])
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err


# ---- a round, with sessions that are played ------------------------------------------------------------


class Ended:
    def __init__(self, code: int, said: str = "") -> None:
        self.code = code
        self.said = said


class Sessions:
    """Each session ends with the next code; the last one goes on."""

    def __init__(self, *codes: int, said: str = "", work: int = 40) -> None:
        self._codes = list(codes)
        self._said = said
        self.work = work
        self.seconds = 1.0

    def run(self, strike: Strike | None) -> Ended:
        return Ended(self._codes.pop(0) if len(self._codes) > 1 else self._codes[0], self._said)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = write_job(tmp_path / "job", "feathered")
    run_of(path).root.mkdir(parents=True)
    return path


def wrong(
    monkeypatch: pytest.MonkeyPatch, job: Path, sessions: Sessions, found: Result, faults: tuple[str, ...]
) -> str | None:
    monkeypatch.setattr("scripts.chaos_monkey.rounds.result_of", lambda job: found)
    run_of(job).summary.write_text('{"status": "done"}')
    round_ = Round(job, sessions, USUAL, Result(1, {"canvas-0.f32": 2, "canvas-1.f32": 3}, 4))
    return round_.play(random.Random(5), faults, ("event",)).wrong


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (Result(1, {"canvas-0.f32": 2, "canvas-1.f32": 3}, 4), None),
        (Result(9, {"canvas-0.f32": 2, "canvas-1.f32": 3}, 4), "the output's pixels differ"),
        (Result(1, {"canvas-0.f32": 9, "canvas-1.f32": 3}, 4), "canvas-0.f32 differ"),
        (Result(1, {"canvas-0.f32": 2}, 4), "canvas-1.f32 differ"),
        (Result(1, {"canvas-0.f32": 2, "canvas-1.f32": 3}, None), "the film differ"),
    ],
)
def test_a_difference_is_noticed(
    monkeypatch: pytest.MonkeyPatch, job: Path, found: Result, sentence: str | None
) -> None:
    assert wrong(monkeypatch, job, Sessions(0), found, ("kill",)) == sentence


SAME = Result(1, {"canvas-0.f32": 2, "canvas-1.f32": 3}, 4)


@pytest.mark.parametrize(
    ("sessions", "sentence"),
    [
        (Sessions(-9, 0, work=41), None),
        (Sessions(0, work=60), "20 units of work were repeated"),
        (Sessions(70, said="Traceback"), "ended with code 70: Traceback"),
        (Sessions(1, said="remove the run folder"), "ended with code 1"),  # nothing was damaged
        (Sessions(-9), "ended with code -9"),  # that nobody sent
    ],
)
def test_an_end_that_should_not_be_is_noticed(
    monkeypatch: pytest.MonkeyPatch, job: Path, sessions: Sessions, sentence: str | None
) -> None:
    found = wrong(monkeypatch, job, sessions, SAME, ("kill",))
    assert found is None if sentence is None else found is not None and sentence in found


def test_strikes_follow_from_the_seed() -> None:
    draw: Callable[[int], list[Strike]] = lambda seed: draw_strikes(  # noqa: E731
        random.Random(seed), USUAL, ALL_FAULTS, ("event", "file", "time")
    )
    assert draw(3) == draw(3)
    drawn = [strike for seed in range(100) for strike in draw(seed)]
    assert {strike.kind for strike in drawn} == {"kill", "term", "full", "worker", "hang"}
    assert {strike.when for strike in drawn} == {"event", "file", "time"}
    assert all(1 <= strike.at <= 60 for strike in drawn if strike.when == "event")


@pytest.mark.parametrize(("kind", "left"), [("flip", b"abcde\x67g"), ("cut", b"abcde"), ("remove", None)])
def test_damage_is_done(tmp_path: Path, kind: str, left: bytes | None) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"abcdefg")
    damage = Damage(kind, 0.6, 0.8, 0, vital=False)  # type: ignore[arg-type]
    _, path = inflict(damage, sorted(tmp_path.iterdir()), tmp_path)
    assert path == tmp_path / "two"
    assert (path.read_bytes() if path.exists() else None) == left
    assert (tmp_path / "one").read_bytes() == b"abcdefg"
