"""The program on the head, started by Ray jobs: python -m tilefarm.remote.agent VERSION WHAT ARGUMENTS...

hello                     show the head's folder to the job server
take                      the files in the working folder
run MANIFEST [--fresh] [--store ADDRESS SECONDS MIB]
                          a job, with a copy of its run folder at an address
offer NAME BYTES [--run]  the files of a job's results, as a list, in parts of so many bytes
cut TOKEN FIRST LAST      some parts of them as files
drop TOKEN                remove that again
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tilefarm
from tilefarm.errors import ClusterError, JobError, TilefarmError
from tilefarm.files import telling_when_forbidden, telling_when_full
from tilefarm.remote import offer, take
from tilefarm.remote.errand import ANSWER
from tilefarm.remote.home import Home, home_here, session_logs, show_in_logs

if TYPE_CHECKING:
    from tilefarm.store.keeping import Wish


def main(words: list[str]) -> int:
    """Do what the words say, and return the exit code."""
    asker, what, *rest = words
    try:
        with telling_when_full(), telling_when_forbidden():
            if asker != tilefarm.__version__:
                raise ClusterError(
                    f"the cluster has tilefarm {tilefarm.__version__} and this machine {asker}; install the "
                    "same version on both"
                )
            home, logs = home_here(), session_logs()
            show_in_logs(home, logs)
            if what == "run":
                return _run(home, logs, rest[0], rest[1:])
            _answer(_ERRANDS[what](home, rest))
    except TilefarmError as error:
        _tell(error)
        _answer({"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    return 0


def _answer(record: dict[str, Any]) -> None:
    print(ANSWER + json.dumps(record), flush=True)


def _tell(error: TilefarmError) -> None:
    for problem in error.problems if isinstance(error, JobError) else (error,):
        print(f"error: {problem}", file=sys.stderr, flush=True)


def _run(home: Home, logs: Path, manifest: str, words: list[str]) -> int:
    """Render a job on the cluster, after those that came before it: each takes all workers."""
    from tilefarm.batch import Entry, Group
    from tilefarm.execute.open import ExecutorChoice
    from tilefarm.rundir.find import run_folder
    from tilefarm.spec.load import load_job
    from tilefarm.submission import Manner, render_all

    file = take.assemble(home, take.read_manifest(home, manifest))

    def load(path: Path) -> Group:
        job = load_job(path, kept=True)
        return Group(path, job.name, (Entry(path, job, run_folder(job, home.runs)),))

    manner = Manner(attach=True, fresh="--fresh" in words, store=_wish(words))
    with take.alone(logs / "tilefarm.turn"):
        _, code = render_all([file], load, ExecutorChoice("ray", "auto"), _tell, manner)
    return code


def _wish(words: list[str]) -> Wish | None:
    """The store among the words of `run`."""
    if "--store" not in words:
        return None
    from tilefarm.store.keeping import Wish
    from tilefarm.store.mirror import Pace

    address, seconds, rate = words[words.index("--store") + 1 :]
    return Wish(address, Pace(float(seconds), float(rate)))


_ERRANDS: dict[str, Callable[[Home, list[str]], dict[str, Any]]] = {
    "hello": lambda home, rest: {},
    "take": lambda home, rest: {"whole": take.take(home, Path.cwd())},
    "offer": lambda home, rest: {"token": offer.offer(home, rest[0], int(rest[1]), "--run" in rest[2:])},
    "cut": lambda home, rest: {"parts": offer.cut(home, rest[0], int(rest[1]), int(rest[2]))},
    "drop": lambda home, rest: {"dropped": offer.drop(home, rest[0])},
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
