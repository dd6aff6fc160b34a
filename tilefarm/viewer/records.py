"""A run's plan and live data, read from a folder that anybody may have written.

What is shown must have the right types and sizes, so that nothing in a folder can end the server or reach the
page as something else than numbers and text.
"""

from __future__ import annotations

import json
import stat
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tilefarm.rundir.layout import RunDir

MOST_BYTES = 64 * 2**20
"""Of a file that is read as a whole: far more than a plan of ten thousand pieces has."""
MOST_TEXT = 4000
"""Characters of a sentence or a path."""
_Whole = Annotated[int, Field(ge=0, le=10**12)]
_Length = Annotated[int, Field(ge=1, le=10**7)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Seconds = Annotated[float, Field(ge=0, le=10**12)]
_Text = Annotated[str, Field(max_length=MOST_TEXT)]


class _Seen(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _SizeSeen(_Seen):
    width: _Length
    height: _Length


class _PaddingSeen(_Seen):
    left: _Whole
    top: _Whole


class _LevelSeen(_SizeSeen):
    pieces: _Whole
    tiles: _Length
    columns: _Length
    tile_width: _Length
    tile_height: _Length
    padding: _PaddingSeen
    rounds: _Length
    iterations: _Whole


class PlanSeen(_Seen):
    """What the page needs of plan.json."""

    output: _SizeSeen
    crop: Annotated[list[_Whole], Field(min_length=4, max_length=4)]
    levels: Annotated[list[_LevelSeen], Field(max_length=100)]


class _SummaryLevelSeen(_Seen):
    loss_first: _Number | None = None
    loss_last: _Number | None = None
    seconds: _Seconds | None = None


class _PeaksSeen(_Seen):
    driver: _Whole | None = None
    workers: list[_Whole] | None = None


class SummarySeen(_Seen):
    """What a report needs of run.json."""

    status: _Text
    message: str | None = None
    output: _Text
    precision: _Text | None = None
    seconds: _Seconds
    levels: Annotated[list[_SummaryLevelSeen], Field(max_length=100)]
    peak_rss_bytes: _PeaksSeen | None = None
    tile_retries: _Whole = 0
    rollbacks: _Whole = 0
    numbers_gone_wrong: _Whole = 0
    worker_losses: _Whole = 0
    versions: dict[str, _Text]


class _InFlightSeen(_Seen):
    box: Annotated[list[_Share], Field(min_length=4, max_length=4)]
    worker: _Whole
    iteration: _Whole | None = None
    iterations: _Whole | None = None


class _WorkerSeen(_Seen):
    worker: _Whole
    device: _Text
    state: _Text
    done: _Whole
    megapixels: _Number
    busy_seconds: _Number
    rss_bytes: _Whole | None


class LiveSeen(_Seen):
    """What the page needs of live.json."""

    paused: bool = False
    share: _Share | None = None
    seconds: _Number | None = None
    seconds_left: _Number | None = None
    level: _Whole | None = None
    round: _Whole | None = None
    rounds: _Whole | None = None
    iteration: _Whole | None = None
    iterations: _Whole | None = None
    doing: _Text | None = None
    pieces: Annotated[list[_Whole], Field(min_length=2, max_length=2)] | None = None
    in_flight: Annotated[list[_InFlightSeen], Field(max_length=10**4)] = []
    workers: Annotated[list[_WorkerSeen], Field(max_length=10**4)] = []
    driver_rss_bytes: _Whole | None = None


_Model = TypeVar("_Model", bound=BaseModel)


def seen(kind: type[_Model], record: Any) -> dict[str, Any]:
    """The record with what the page needs of it; empty where one value is not what it should be."""
    try:
        return kind.model_validate(record).model_dump(exclude_unset=True)
    except ValidationError:
        return {}


def read_plan(run: RunDir) -> dict[str, Any]:
    """plan.json; empty where there is none, or it is damaged."""
    try:
        return seen(PlanSeen, json.loads(run.plan.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return {}


def strange_file(run: RunDir) -> str | None:
    """Why the folder's records are not to be read, as a sentence; None for a run's.

    Pipes and devices would never come to an end, and a record of gigabytes is none.
    """
    small = (run.plan, run.summary, run.live, run.lock, run.job)
    for path in (*small, run.journal, run.events, run.tiles):
        try:
            found = path.stat()
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode):
            return f"{path} is not a file, so this folder is not shown"
        if path in small and found.st_size > MOST_BYTES:
            return f"{path} has {found.st_size} bytes, so this folder is not shown"
    return None


def text_or_none(value: Any) -> str | None:
    """A text of a record, cut off where nobody would read it; None for what is no text."""
    return value[:MOST_TEXT] if isinstance(value, str) else None
