"""Standard output and error that may be closed or go away: a night's work does not hang on who listens."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def survive_closed_streams() -> None:
    """Make this process's standard streams such that writing to them never fails.

    A descriptor that is closed would otherwise be given to the next file that is opened, a run's journal for
    example, and messages would go there. What is written to a pipe that nobody reads, or to a terminal that
    is gone, is dropped from then on.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free: this one
    sys.stdout = _lasting(sys.stdout, 1)
    sys.stderr = _lasting(sys.stderr, 2)


def _lasting(stream: TextIO | None, descriptor: int) -> TextIO:
    """The same stream, whose writes do not fail."""
    if stream is None:  # Python found it closed
        return os.fdopen(os.dup(descriptor), "w")
    if isinstance(stream, _Lasting):
        return stream
    return _Lasting(stream)  # type: ignore[return-value]  # passes on whatever else a stream can do


class _Lasting:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or drop what cannot be written."""
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """Hand on what was written, or drop it."""
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """Let the stream's descriptor lead nowhere: what its buffer still holds can then be written."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())
        finally:
            os.close(nowhere)
