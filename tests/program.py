"""The installed program, run in the test's process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tilefarm.cli import main


@dataclass(frozen=True)
class Answer:
    """What a command leaves behind."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> list[str]:
        """The lines on standard error."""
        return self.err.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        """What `--json` printed."""
        records: list[dict[str, Any]] = json.loads(self.out)
        return records


Command = Callable[..., Answer]


def program(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs the program with some arguments. An exception is a traceback and fails the test."""

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["tilefarm", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Answer(int(end.value.code or 0), out, err)

    return run
