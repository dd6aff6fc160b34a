"""Prepared jobs whose pictures exist on no disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tilefarm.geometry import Size
from tilefarm.image.decode import PictureInfo
from tilefarm.image.orientation import ORIENTATIONS
from tilefarm.plan.build import build_plan
from tilefarm.prepare import Prepared
from tilefarm.spec.model import Job, Style
from tilefarm.spec.output import Output

CONTENT, STYLE = Size(1200, 900), Size(900, 900)


def prepared_job(width: int, tile: int | str = 512, **compute: Any) -> Prepared:
    """By the exact method, `width` pixels across, with these keys of `compute`."""
    job = Job.model_validate(
        {
            "name": "gate",
            "content": Path("/in/gate.jpg"),
            "styles": (Style(image=Path("/in/night.jpg")),),
            "output": Output.model_validate({"path": Path("/out/gate.tif"), "width": width}),
            "method": "exact",
            "tiles": {"size": tile},
            "compute": compute,
        }
    )
    upright = ORIENTATIONS[1]
    content, style = (PictureInfo(Path("/in"), "", size, upright, False, ()) for size in (CONTENT, STYLE))
    return Prepared(job, content, (style,), build_plan(job, CONTENT, [STYLE]), ())
