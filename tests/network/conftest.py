"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.network.work import painted_alone, write_job


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """What one machine makes of the job by itself, by method: painted once, when first asked for."""
    folder = tmp_path_factory.mktemp("alone")
    return cache(lambda method: painted_alone(write_job(folder / method, method)))
