"""The thread that reports progress in this process: what the report raises is not lost in it."""

from __future__ import annotations

import threading

import pytest

from tests.standins import Mixer
from tilefarm.errors import ResourceError
from tilefarm.execute import local
from tilefarm.execute.protocol import Progress


class Telling(Mixer):
    def progress(self) -> Progress:
        return Progress(0, 1, 2.0)


def full(progress: Progress) -> None:
    raise ResourceError("the disk is full")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "PROGRESS_SECONDS", 0.001)


def run_to_its_end(ticker: local._Ticker, failure: Exception | None = None) -> None:
    with ticker:
        ticker._thread.join(60)  # it ends with the first report that fails
        if failure is not None:
            raise failure


def test_a_report_that_fails_ends_the_work() -> None:
    with pytest.raises(ResourceError, match="disk is full"):
        run_to_its_end(local._Ticker(Telling(), full))


def test_the_works_own_failure_comes_first() -> None:
    with pytest.raises(RuntimeError, match="the tile failed"):
        run_to_its_end(local._Ticker(Telling(), full), RuntimeError("the tile failed"))


def test_reports_go_on_until_the_work_ends() -> None:
    twice, seen = threading.Event(), list[Progress]()

    def report(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) > 1:
            twice.set()

    ticker = local._Ticker(Telling(), report)
    with ticker:
        assert twice.wait(60)
    assert not ticker._thread.is_alive()
