"""What a job server answers, taken with care: it is trusted with the jobs, and not with this machine."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests

from tilefarm.spec.values import printable

MOST_BYTES = 2**28
"""Of an answer that is held in memory; logs of events are the largest, some 200 bytes for each tile."""
_BLOCK = 1 << 20
_LONGEST_REASON = 300


class TooLongError(Exception):
    """An answer has more than `MOST_BYTES`."""


@dataclass(frozen=True)
class Answer:
    """A response that is here in full."""

    code: int
    body: bytes

    @property
    def text(self) -> str:
        """For looking into; not yet for a terminal."""
        return self.body.decode("utf-8", "replace")

    def parsed(self) -> Any:
        """Its JSON. Raises ValueError and RecursionError."""
        return json.loads(self.body)

    def last_line(self) -> str:
        """What the server gives as its reason, for people."""
        text: Any = self.text
        with suppress(ValueError, AttributeError, RecursionError):
            text = json.loads(text).get("msg", text)
        lines = [line.strip() for line in str(text).splitlines() if line.strip()]
        return printable(lines[-1][:_LONGEST_REASON]) if lines else "no reason given"


def taken(response: requests.Response) -> Answer:
    """All of a response. Raises TooLongError, RequestException where it breaks off."""
    body = bytearray()
    for block in response.iter_content(_BLOCK):
        body += block
        if len(body) > MOST_BYTES:
            raise TooLongError
    return Answer(response.status_code, bytes(body))


def harmless_lines(text: str) -> str:
    """A text whose lines are printable."""
    return "\n".join(printable(line) for line in text.splitlines())


def exit_code(value: Any) -> int:
    """The exit code of something that failed elsewhere; 1 for what is none."""
    return value if isinstance(value, int) and 0 < value < 256 else 1


def version_numbers(version: Any) -> tuple[int, ...]:
    """Major and minor; empty for what is no version."""
    head = str(version).split(".")[:2]
    return tuple(int(part) for part in head) if all(part.isdecimal() for part in head) else ()


def system_reason(error: Exception) -> str:
    """What the system says behind the wrappings of two libraries."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        inner = getattr(cause, "reason", None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__ or cause.__context__
    return type(error).__name__
