"""Events out of the lines of an event log, which another version, or somebody else, may have written."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from tilefarm.events import Event, LevelBegan, StepsProgress, StepTaken
from tilefarm.foreign import harmless

_KINDS: dict[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in get_args(Event)}
_MOST = 10**15
"""Of anything that is counted: pixels times steps of a level are the most."""


def decoded(line: bytes, begin: float) -> Event | None:
    """The event of a line of events.jsonl, its texts printable and its numbers such that they can be shown.

    None for a strange one, or one before `begin`, a Unix time.
    """
    try:
        record = harmless(json.loads(line))
        if record["time"] < begin:
            return None
        event: Event = _KINDS[record.pop("event")].validate_python(record)
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError, RecursionError):
        return None
    return event if _is_sound(event) and _can_be_shared_out(event) else None


def _is_sound(value: Any, name: str = "") -> bool:
    if is_dataclass(value):
        return all(_is_sound(getattr(value, field.name), field.name) for field in fields(value))
    if isinstance(value, tuple):
        return all(_is_sound(each, name) for each in value)
    if isinstance(value, int):
        return 0 <= value <= _MOST
    # losses may be infinite, or no numbers: a run can go wrong
    return not isinstance(value, float) or name != "seconds" or 0 <= value <= _MOST


def _can_be_shared_out(event: Event) -> bool:
    """Whether nothing that progress is divided by is zero."""
    if isinstance(event, LevelBegan):
        return event.tiles > 0 and event.rounds > 0
    return not isinstance(event, StepsProgress | StepTaken) or event.iterations > 0
