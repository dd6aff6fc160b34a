"""The program on a stand-in worker, as a process: python tests/standin_program.py FOLDER ARGUMENTS...

FOLDER says what happens in tile `HELD_TILE`: with a file `hold` in it, the worker writes its process id to
`held` and waits until `release` is there; with `deaf` it does so inside compiled code that no signal ends.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import tilefarm.driver
from tests.standins import Mixer
from tilefarm.cli import main
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Batch
from tilefarm.solve.contract import LevelTargets, SolverSettings, Weights
from tilefarm.solve.tasks import TileSolution

HELD_TILE = 5
DEAF_ROUNDS = 10**8
"""Of a key derivation: a minute or so, in one call."""


class Held(Mixer):
    """Stops in one tile, once."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def solve(
        self, settings: SolverSettings, targets: LevelTargets, batch: Batch
    ) -> tuple[TileSolution, ...]:
        if batch.tasks[0].index == HELD_TILE:
            for how in ("hold", "deaf"):
                if (self._folder / how).exists():
                    (self._folder / how).unlink()
                    self._wait(how)
        return super().solve(settings, targets, batch)

    def _wait(self, how: str) -> None:
        (self._folder / "held.new").write_text(str(os.getpid()))
        (self._folder / "held.new").rename(self._folder / "held")
        if how == "deaf":
            hashlib.pbkdf2_hmac("sha256", b"", b"", DEAF_ROUNDS)
        while not (self._folder / "release").exists():
            time.sleep(0.01)


if __name__ == "__main__":
    held = Held(Path(sys.argv.pop(1)))
    tilefarm.driver.open_executor = lambda *_: LocalExecutor(held)  # type: ignore[attr-defined]
    tilefarm.driver.load_weights = lambda *_: Weights({}, "caffe", "none")  # type: ignore[attr-defined]
    main()
