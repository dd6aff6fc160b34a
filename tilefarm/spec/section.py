"""The base of all parts of a job: frozen, strict, and complete in what it complains about.

Pydantic judges every field on its own, but stops before rules that join several fields as soon as
one field is wrong. A `Section` checks its joining rules on the keys as they were written, so that a
person who made five mistakes reads five sentences and not one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails


@dataclass(frozen=True)
class Conflict:
    """A broken rule between several keys."""

    location: tuple[str, ...]
    """The key to blame, relative to the section."""
    sentence: str
    """What follows the key's name: "cannot be given together with ..."."""
    harmless: bool = False
    """Whether the key only changes nothing. The job of a run folder, which an earlier version may have let
    through, is then read all the same."""


class Section(BaseModel):
    """A mapping of the job file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """The broken rules between keys. `given` holds what was written: any value can be of any type.

        `folder` is the folder that relative paths belong to, or None where no files are checked.
        """
        yield from ()

    @classmethod
    def prepared(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was written, with short forms replaced by the keys of the model."""
        return given

    @model_validator(mode="wrap")
    @classmethod
    def _report_everything(
        cls, value: Any, handler: ModelWrapValidatorHandler[Section], info: ValidationInfo
    ) -> Section:
        if not isinstance(value, Mapping):
            return handler(value)
        kept = bool(info.context and info.context.get("kept"))
        found = [
            _details(conflict, value)
            for conflict in cls.conflicts(value, job_folder(info))
            if not (kept and conflict.harmless)
        ]
        try:
            section = handler(cls.prepared(value))
        except ValidationError as error:
            found.extend(
                InitErrorDetails(type=e["type"], loc=e["loc"], input=e["input"], ctx=e.get("ctx", {}))
                for e in error.errors()
            )
        if found:
            raise ValidationError.from_exception_data(cls.__name__, found)
        return section


def _details(conflict: Conflict, value: Any) -> InitErrorDetails:
    error = ValueError(conflict.sentence)
    return InitErrorDetails(type="value_error", loc=conflict.location, input=value, ctx={"error": error})


def job_folder(info: ValidationInfo) -> Path | None:
    """The folder that `load_job` hands down to the validators of paths; None without a job file."""
    return info.context["folder"] if info.context else None


def written(given: object, key: str) -> Any:
    """The value of `key` in a mapping or a finished section; None if there is neither."""
    return given.get(key) if isinstance(given, Mapping) else getattr(given, key, None)
