"""Fixtures for the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_images() -> Path:
    """The folder of real photographs and paintings; skips where it is absent."""
    folder = SHARED / "images"
    if not folder.is_dir():
        pytest.skip(f"the folder of real pictures, {folder}, is absent on this machine")
    return folder
