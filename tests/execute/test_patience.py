"""How long workers may be silent: as usual, or as the environment says."""

from __future__ import annotations

import pytest

from tilefarm.errors import JobError
from tilefarm.execute.deadlines import Deadlines, Effort, Patience
from tilefarm.execute.open import ExecutorChoice, open_executor
from tilefarm.execute.patience import VARIABLE, patience_here
from tilefarm.solve.contract import Weights


def test_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert patience_here() == Patience()


def test_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "2.5")
    deadlines = Deadlines(1, patience_here())
    effort = Effort("solve", 2**24)
    assert deadlines.limit(0, [effort]) == 2.5
    deadlines.finished(0, effort, 0.0)
    deadlines.finished(0, effort, 1.0)
    assert deadlines.limit(0, [effort]) == 10, "ten times what its like takes, as ever"


@pytest.mark.parametrize("text", ["", "soon", "0", "-3", "nan", "inf"])
def test_what_is_no_time_is_refused_before_ray_starts(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    monkeypatch.setattr("tilefarm.execute.cluster.start_local", lambda cores, device: pytest.fail("started"))
    with pytest.raises(JobError, match=rf"^{VARIABLE} must be seconds above 0, got '{text}'; "):
        open_executor(ExecutorChoice(), Weights({}, "caffe", ""), "cpu", 1, 1)
