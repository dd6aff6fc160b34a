"""What run.json must be like to be shown: others may have written it, by mistake or to do harm."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

_Count = Annotated[int, Field(ge=0, le=10**12)]
_Side = Annotated[int, Field(ge=1, le=10**9)]
_Seconds = Annotated[float, Field(ge=0, le=10**12)]
_Loss = float | None
"""One that is not finite is told as it is."""
_Text = Annotated[str, Field(max_length=20_000)]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _LevelForm(_Form):
    width: _Side
    height: _Side
    rounds: _Count
    rounds_done: _Count
    iterations: _Count
    loss_first: _Loss
    loss_last: _Loss
    steps_done: _Count | None = None
    """Nobody writes it; it is added where a level is shown."""

    @model_validator(mode="after")
    def _both_losses(self) -> _LevelForm:
        if (self.loss_first is None) != (self.loss_last is None):
            raise ValueError("a level has its first loss and its last one, or none")
        return self


class _SummaryForm(_Form):
    status: Annotated[str, Field(max_length=40)]
    message: _Text | None = None
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    output: _Text
    width: _Side
    height: _Side
    seconds: _Seconds
    levels: Annotated[list[_LevelForm], Field(max_length=100)]


def can_be_shown(record: Any) -> bool:
    """Whether all that people are told of a run is there, of its type, and in its bounds."""
    try:
        _SummaryForm.model_validate(record)
    except ValidationError:
        return False
    return True
