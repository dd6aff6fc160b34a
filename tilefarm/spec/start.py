"""What the first, smallest level starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, ValidationInfo

from tilefarm.spec.paths import check_is_file, to_path
from tilefarm.spec.section import Conflict, job_folder
from tilefarm.spec.values import did_you_mean, found

STARTS: tuple[Literal["content", "noise", "style_statistics"], ...] = ("content", "noise", "style_statistics")


def _init(value: Any, info: ValidationInfo) -> Path | str:
    if value in STARTS:
        return str(value)
    rule = f"must be {', '.join(STARTS)} or the path of a picture"
    if not isinstance(value, str | Path):
        raise ValueError(f"{rule}, got {found(value)}")
    folder = job_folder(info)
    path = to_path(value, folder)
    if folder is not None:
        advice = did_you_mean(value, STARTS)
        if advice and not path.exists():
            raise ValueError(f"{rule}, got {found(value)}{advice}")
        check_is_file(path)
    return path


Init = Annotated[Literal["content", "noise", "style_statistics"] | Path, PlainValidator(_init)]
"""One of `STARTS`, or a picture's path; a file that is called like one of the words needs ./ in front."""


def useless_noise(given: Mapping[str, Any]) -> Iterator[Conflict]:
    """Noise mixed into noise changes nothing."""
    if given.get("init") == "noise" and given.get("init_noise", 0) != 0:
        yield Conflict(
            ("init_noise",), "cannot be given with init: noise, which is all noise already; remove it"
        )
