"""Jobs that exist on no disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilefarm.spec.model import Job, Style
from tilefarm.spec.output import Output


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Job]:
    """`make_job({"width": 6000}, tiles={"size": 256})`: the output's keys, then any of the job's.

    Tiles are what most of these tests are about: the method is feathered unless they say otherwise.
    """

    def make(output: dict[str, Any] | None = None, **keys: Any) -> Job:
        styles = keys.pop("styles", (Style(image=Path("/in/night.jpg")),))
        path = {"path": Path("/out/gate.tif")}
        return Job.model_validate(
            {
                "name": "gate",
                "content": Path("/in/gate.jpg"),
                "styles": styles,
                "output": Output.model_validate(path | (output or {})),
                "method": "feathered",
                **keys,
            }
        )

    return make
