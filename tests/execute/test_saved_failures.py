"""A saved failure is solved again from its folder alone, with a real network in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.execute.conftest import Work
from tests.standins import Troubled
from tilefarm.execute.call import WorkFailedError
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.worker import TileWorker
from tilefarm.failures import Failure, load_failure, save_failure


def test_what_failed_is_solved_to_the_same_bits_from_what_was_saved(tmp_path: Path, work: Work) -> None:
    trouble, folder = tmp_path / "trouble", tmp_path / "failed"
    trouble.mkdir()
    for number in range(3):
        (trouble / f"fail-7-{number}").touch()
    worker = TileWorker(work.weights, "cpu", 1)
    executor = LocalExecutor(Troubled(worker, trouble))
    with pytest.raises(WorkFailedError, match=r"^tile 6 failed 3 times.*mishap fail-7-2") as caught:
        list(executor.solve(work.settings, work.targets, [work.batches[6]], lambda progress: None))
    save_failure(folder, Failure(caught.value.call, 0, 0, caught.value.error))
    again = load_failure(folder)
    assert again.error == "RuntimeError: mishap fail-7-2"
    solutions = again.call.on(worker)
    assert [solution.index for solution in solutions] == [6, 7]
    for solution in solutions:
        assert solution.image.tobytes() == work.solutions[solution.index].image.tobytes()
