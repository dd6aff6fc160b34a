"""Ctrl-C and SIGTERM: the first ends the run in order, the second at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tilefarm.errors import StoppedError


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM raise StoppedError in the main thread."""
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        raise StoppedError(f"stopped by {signal.Signals(number).name}", number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def stop_behind(error: BaseException) -> StoppedError | None:
    """The signal that an error goes back to, if any.

    A signal's StoppedError can surface inside compiled code and come out as something else: Ray's wait
    makes a SystemError of it when its own answer is there at the same moment.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, StoppedError):
        cause = cause.__cause__ or cause.__context__
    return cause
