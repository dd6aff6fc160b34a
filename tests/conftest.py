"""Fixtures for the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.delivered import on_a_stand_in
from tests.program import Command, program

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_images() -> Path:
    """The folder of real photographs and paintings; skips where it is absent."""
    folder = SHARED / "images"
    if not folder.is_dir():
        pytest.skip(f"the folder of real pictures, {folder}, is absent on this machine")
    return folder


@pytest.fixture
def tilefarm_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """The program in an empty folder, painting with a stand-in worker. Modules may have one of their own."""
    monkeypatch.chdir(tmp_path)
    on_a_stand_in(monkeypatch)
    return program(monkeypatch, capfd)
