"""The `snapshots` and `animation` sections: what is kept of the picture while it is painted, and shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo

from tilefarm.spec.destination import DestinationKey, destination_conflicts, with_local_copy
from tilefarm.spec.paths import to_new_file
from tilefarm.spec.section import Conflict, Section, written
from tilefarm.spec.values import Number, found

ANIMATION_FORMATS: dict[str, Literal["gif", "mp4"]] = {".gif": "gif", ".mp4": "mp4"}
DEFAULT_SNAPSHOT_SIDE = 1080
DEFAULT_ANIMATION_SIDE = 720


def _animation_path(value: Any, info: ValidationInfo) -> Path:
    return to_new_file(value, info, ANIMATION_FORMATS)


def _level(value: Any) -> int | Literal["all"]:
    if value == "all":
        return "all"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(f"must be all or the number of a level, 1 being the coarsest, got {found(value)}")


AnimationPath = Annotated[Path, PlainValidator(_animation_path)]
AnimationLevel = Annotated[int | Literal["all"], PlainValidator(_level)]


class Snapshots(Section):
    """Small copies of the picture on its way."""

    every: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Optimizer steps between two of them; 0: none. Levels in feathered tiles have one per round."""
    long_side: Annotated[int, Field(ge=64, le=4096)] = DEFAULT_SNAPSHOT_SIDE
    """At most so many pixels; smaller levels are not enlarged."""


class Animation(Section):
    """The picture emerging, made of the snapshots."""

    path: AnimationPath
    long_side: Annotated[int, Field(ge=64, le=4096)] = DEFAULT_ANIMATION_SIDE
    """At most so many pixels; a smaller picture is not enlarged."""
    seconds: Annotated[Number, Field(ge=1, le=120)] = 12.0
    """How long the picture emerges; the last frame is held on top of it."""
    level: AnimationLevel = "all"
    """The level that is shown, counted from 1 at the coarsest; or all of them, one after the other."""
    address: DestinationKey = None
    """As of `output`."""

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """Of path and address."""
        yield from destination_conflicts(given)

    @classmethod
    def prepared(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The file here for one that goes elsewhere."""
        return with_local_copy(given)

    @property
    def format(self) -> Literal["gif", "mp4"]:
        """The kind of file, from the path's ending."""
        return ANIMATION_FORMATS[self.path.suffix.lower()]


def short_snapshots(value: Any) -> Any:
    """The section that a number of steps stands for; anything else as it is."""
    return {"every": value} if isinstance(value, int) and not isinstance(value, bool) else value


def short_animation(value: Any) -> Any:
    """The section that a path stands for; anything else as it is."""
    return {"path": value} if isinstance(value, str | Path) else value


SnapshotsKey = Annotated[Snapshots, BeforeValidator(short_snapshots)]
"""The section, or for short the number of steps."""
AnimationKey = Annotated[Animation | None, BeforeValidator(short_animation)]
"""The section, or for short its path; None: no animation."""


def animation_conflicts(given: Mapping[str, Any]) -> Iterator[Conflict]:
    """Frames cannot be sharper than the snapshots that they are made of."""
    snapshots = _side(given.get("snapshots"), DEFAULT_SNAPSHOT_SIDE)
    if given.get("animation") is None:
        return
    frames = _side(given.get("animation"), DEFAULT_ANIMATION_SIDE)
    if frames > snapshots:
        yield Conflict(
            ("animation", "long_side"),
            f"must not be larger than snapshots.long_side, {snapshots}, of which the frames are made, "
            f"got {frames}; raise snapshots.long_side too",
        )


def _side(section: Any, default: int) -> int:
    side = written(section, "long_side")
    return side if isinstance(side, int) else default
