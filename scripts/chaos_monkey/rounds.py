"""One round: a job rendered through faults until it is done, and compared with an undisturbed one."""

from __future__ import annotations

import json
import random
import shutil
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import tifffile

from scripts.chaos_monkey.faults import Strike, Usual, When, draw_damage, draw_strikes, inflict
from tilefarm.driver import run_folder
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

_MOST_SESSIONS = 12
_OBEYED = 2
"""Times in a row that a refusal may be obeyed before the round counts as one that cannot be finished."""
EXPECTED = {"kill": (-9,), "term": (143, -15), "full": (5,), "worker": (), "hang": ()}
"""Exit codes of sessions that were struck; 0 where the strike came too late, or did no harm."""


class Ended(Protocol):
    """How a session ended."""

    @property
    def code(self) -> int:
        """Its exit code, or minus the number of the signal that killed it."""

    @property
    def said(self) -> str:
        """What it said on standard error."""


class Sessions(Protocol):
    """Drivers on one job, one after the other."""

    def run(self, strike: Strike | None) -> Ended:
        """One from start to end."""

    @property
    def work(self) -> int:
        """Units of work that were begun in all sessions so far."""

    @property
    def seconds(self) -> float:
        """How long the last session took, by the clock of strikes."""


@dataclass(frozen=True)
class Result:
    """What a finished run is compared by."""

    pixels: int
    """CRC-32 of the output file's pixels."""
    canvases: dict[str, int]
    """CRC-32 of the canvases, by name."""
    film: int | None
    """CRC-32 of the animation, where the job asks for one."""


@dataclass
class Played:
    """What became of a round."""

    faults: list[str] = field(default_factory=list)
    sessions: int = 0
    repeated: int = 0
    anew: int = 0
    """How often the program asked to start anew, or for a file to be moved away, and was obeyed."""
    wrong: str | None = None
    """Why the round counts as failed."""


def run_of(job: Path) -> RunDir:
    """The run folder of a job file."""
    return run_folder(load_job(job), job.parent / "runs")


def result_of(job: Path) -> Result:
    """Of a run that is done."""
    canvases = {path.name: zlib.crc32(path.read_bytes()) for path in run_of(job).root.glob("canvas-*.f32")}
    film = job.parent / "film.gif"
    return Result(
        zlib.crc32(tifffile.imread(job.parent / "out.tif").tobytes()),
        canvases,
        zlib.crc32(film.read_bytes()) if film.exists() else None,
    )


def most_pieces(job: Path) -> int:
    """Of any level, by the run's plan; 0 for the feathered method."""
    plan = json.loads(run_of(job).plan.read_text(encoding="utf-8"))
    return max(int(level["pieces"]) for level in plan["levels"])


class Round:
    """One round of a seed."""

    def __init__(self, job: Path, sessions: Sessions, usual: Usual, wanted: Result) -> None:
        self._job = job
        self._sessions = sessions
        self._usual = usual
        self._wanted = wanted
        self._damaged: set[str] = set()
        self._obeyed = 0
        self._played = Played()

    def play(self, chance: random.Random, kinds: Collection[str], moments: tuple[When, ...]) -> Played:
        """Sessions with faults until they are used up, then without until the run is done."""
        played = self._played
        strikes: list[Strike | None] = [*draw_strikes(chance, self._usual, kinds, moments)]
        while played.wrong is None:
            strike = strikes.pop(0) if strikes else None
            ended = self._session(strike)
            done = ended.code == 0 and played.wrong is None
            if done and (strike is None or chance.random() < 0.5):
                break
            if strike is not None:
                self._damage(chance, kinds)
        if played.wrong is None:
            self._compare()
        return played

    def _session(self, strike: Strike | None) -> Ended:
        played = self._played
        if played.sessions >= _MOST_SESSIONS:
            played.wrong = f"not done after {_MOST_SESSIONS} sessions"
        played.sessions += 1
        if strike is not None:
            played.faults.append(str(strike))
        ended = self._sessions.run(strike)
        expected = (0,) if strike is None else (0, *EXPECTED[strike.kind])
        if ended.code in expected:
            self._obeyed = 0
        elif not self._obey(ended):
            played.wrong = f"session {played.sessions} ended with code {ended.code}: {ended.said.strip()}"
        return ended

    def _obey(self, ended: Ended) -> bool:
        """Do what a refusal after damage asks for; False where it is none."""
        self._obeyed += 1
        if not self._damaged or ended.code not in (1, 2) or self._obeyed > _OBEYED:
            return False
        if "remove " in ended.said or "--fresh" in ended.said:
            shutil.rmtree(run_of(self._job).root)
        elif "move it away" in ended.said:
            named = [
                path for path in self._job.parent.iterdir() if f"{path} " in ended.said and path.is_file()
            ]
            if not named:
                return False
            for path in named:
                path.unlink()
        else:
            return False
        self._played.anew += 1
        self._played.faults.append("start anew as told")
        return True

    def _damage(self, chance: random.Random, kinds: Collection[str]) -> None:
        damage = draw_damage(chance, kinds)
        if damage is None:
            return
        root = run_of(self._job).root
        files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != "lock")
        if (output := self._job.parent / "out.tif").exists():
            files.append(output)
        done, path = inflict(damage, files, self._job.parent)
        if path is not None:
            self._played.faults.append(done.replace(f"{root.relative_to(self._job.parent)}/", ""))
            self._damaged.add(path.name)

    def _compare(self) -> None:
        played, usual = self._played, self._usual
        found = result_of(self._job)
        played.repeated = self._sessions.work - usual.work
        finest = max(self._wanted.canvases)
        differing = [
            name
            for name, crc in self._wanted.canvases.items()
            if found.canvases.get(name) != crc and (name == finest or name not in self._damaged)
        ]  # a coarser canvas that was damaged after its time is looked at by nobody
        summary = json.loads(run_of(self._job).summary.read_text(encoding="utf-8"))
        if found.pixels != self._wanted.pixels:
            differing.append("the output's pixels")
        if found.film != self._wanted.film and not any(name.endswith(".jpg") for name in self._damaged):
            differing.append("the film")  # one of damaged snapshots may lack them
        if differing:
            played.wrong = f"{', '.join(differing)} differ"
        elif summary["status"] != "done":
            played.wrong = f"run.json says {summary['status']}"
        elif not self._damaged and played.repeated > (played.sessions - 1) * usual.in_flight:
            played.wrong = f"{played.repeated} units of work were repeated without damage to any file"


def measure(job: Path, sessions: Sessions, in_flight: int | None = None) -> tuple[Usual, Result]:
    """An undisturbed run. Raises RuntimeError where even that fails."""
    ended = sessions.run(None)
    if ended.code:
        raise RuntimeError(f"the undisturbed run ended with code {ended.code}: {ended.said}")
    counts_file = job.parent / "counts.json"
    counts = json.loads(counts_file.read_text(encoding="utf-8")) if counts_file.exists() else {}
    most = 3 * most_pieces(job) or 1  # an iteration, and the loss of its mean where that is the result
    usual = Usual(
        counts.get("events", 1), counts.get("files", 1), sessions.seconds, sessions.work, in_flight or most
    )
    return usual, result_of(job)
