"""The agent on a stand-in worker: python tests/remote_agent.py FOLDER VERSION WHAT ARGUMENTS...

FOLDER says what happens in one tile, as for `tests/standin_program.py`. The worker is in the job's own
process: what is tested is the way there and back, and not the farm.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tilefarm.driver
from tests.standin_program import Held
from tilefarm.execute.local import LocalExecutor
from tilefarm.remote.agent import main
from tilefarm.solve.contract import Weights

if __name__ == "__main__":
    held = Held(Path(sys.argv.pop(1)))
    tilefarm.driver.open_executor = lambda *_: LocalExecutor(held)  # type: ignore[attr-defined]
    tilefarm.driver.load_weights = lambda *_: Weights({}, "caffe", "none")  # type: ignore[attr-defined]
    sys.exit(main(sys.argv[1:]))
