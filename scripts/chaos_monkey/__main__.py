"""`python -m scripts.chaos_monkey`: rounds of random faults, a line for each, and a summary."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.chaos_monkey.disk import on_small_disk, small_disk
from scripts.chaos_monkey.faults import ALL_FAULTS, DAMAGES, REAL_STRIKES, STRIKES, Usual, When
from scripts.chaos_monkey.jobs import variants, write_job
from scripts.chaos_monkey.real import RealSessions
from scripts.chaos_monkey.rounds import Played, Result, Round, Sessions, measure
from scripts.chaos_monkey.session import StandinSessions

MOMENTS: tuple[When, ...] = ("event", "file", "time")


@dataclass(frozen=True)
class Options:
    """The command line."""

    runs: int
    seed: int
    minutes: float | None
    method: str
    real: bool
    faults: tuple[str, ...]
    only: int | None
    keep: Path

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Options:
        parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
        parser.add_argument("runs", type=int, metavar="RUNS", help="rounds to play")
        parser.add_argument("seed", type=int, metavar="SEED", help="everything random follows from it")
        parser.add_argument("--minutes", type=float, help="begin no round after so long")
        parser.add_argument("--method", choices=("feathered", "exact", "both"), default="both")
        parser.add_argument(
            "--real", action="store_true", help="the program itself, with Ray and the network"
        )
        parser.add_argument(
            "--faults",
            type=lambda text: tuple(text.split(",")),
            help=f"of {','.join(ALL_FAULTS)}; default: all, but worker and hang only with --real",
        )
        parser.add_argument("--only", type=int, metavar="ROUND", help="play this round alone")
        parser.add_argument(
            "--keep", type=Path, default=Path.cwd(), help="where a failed round's folder goes"
        )
        found = parser.parse_args(arguments)
        kinds = found.faults or (*(REAL_STRIKES if found.real else STRIKES), *DAMAGES)
        if unknown := [kind for kind in kinds if kind not in ALL_FAULTS]:
            parser.error(f"no fault is called {', '.join(unknown)}; there are {', '.join(ALL_FAULTS)}")
        if not found.real and (alone := {"worker", "hang"} & set(kinds)):
            parser.error(f"{', '.join(sorted(alone))} needs --real: a stand-in has no process of its own")
        if not {*kinds} - {*DAMAGES}:
            parser.error("files are damaged between sessions: add a fault that ends one, such as kill")
        keep = found.keep.absolute()
        return cls(found.runs, found.seed, found.minutes, found.method, found.real, kinds, found.only, keep)

    def repeating(self, number: int) -> str:
        """The command that plays one round again."""
        parts = ["scripts/chaos", "1", str(self.seed), "--only", str(number), "--method", self.method]
        parts += ["--faults", ",".join(self.faults), *(["--real"] if self.real else [])]
        return " ".join(parts)


class Game:
    """Many rounds."""

    def __init__(self, options: Options, work: Path) -> None:
        self._options = options
        self._work = work
        self._known: dict[str, tuple[Usual, Result]] = {}
        self.played: list[Played] = []

    def play(self, number: int) -> Played:
        """One round, told in a line; its folder is kept where it failed."""
        options = self._options
        chance = random.Random(f"{options.seed}-{number}")
        variant = chance.choice(variants(options.method))
        if variant not in self._known:
            job = write_job(self._work / variant, variant)
            self._known[variant] = measure(job, self._sessions(job))
        usual, wanted = self._known[variant]
        job = write_job(self._work / f"round-{number}", variant)
        moments = ("time",) if options.real else MOMENTS
        played = Round(job, self._sessions(job), usual, wanted).play(chance, options.faults, moments)
        self.played.append(played)
        faults = "; ".join(played.faults) or "none"
        work = f"{played.sessions} sessions, {played.repeated} of {usual.work} units repeated"
        print(f"round {number} {variant}: {faults} | {work} | {played.wrong or 'same'}", flush=True)
        if played.wrong is not None:
            kept = options.keep / f"chaos-{options.seed}-{number}"
            shutil.copytree(job.parent, kept, dirs_exist_ok=True)
            print(f"  folder kept: {kept}\n  again: {options.repeating(number)}", flush=True)
        shutil.rmtree(job.parent)
        return played

    def _sessions(self, job: Path) -> Sessions:
        return RealSessions(job) if self._options.real else StandinSessions(job, small_disk())


def play(options: Options, work: Path) -> int:
    """All rounds and the summary; the exit code."""
    begin, game = time.monotonic(), Game(options, work)
    numbers = [options.only] if options.only is not None else range(1, options.runs + 1)
    for number in numbers:
        if options.minutes is not None and time.monotonic() - begin > 60 * options.minutes:
            break
        game.play(number)
    played = game.played
    wrong = sum(one.wrong is not None for one in played)
    print(
        f"{len(played)} rounds in {time.monotonic() - begin:.0f} s: "
        f"{sum(len(one.faults) for one in played)} faults, {sum(one.sessions for one in played)} sessions, "
        f"{sum(one.repeated for one in played)} units of work repeated, "
        f"{sum(one.anew for one in played)} started anew as told, {wrong} failed"
    )
    return 1 if wrong else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = Options.parse(given)
    if (disk := small_disk()) is not None:
        return play(options, disk)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        code = None if options.real else on_small_disk(Path(folder), given)
        return play(options, Path(folder)) if code is None else code


if __name__ == "__main__":
    sys.exit(main())
