"""The errors that a user meets, each with the exit code of the command that it ends.

A message is one sentence with the rule, the value found and the way out. Anything that is not a
`TilefarmError` is a fault of ours and ends the command with exit code 1 and a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


class TilefarmError(Exception):
    """Base of all errors that are told to the user as a sentence."""

    exit_code = 1


class JobError(TilefarmError):
    """The job or its inputs are wrong; nothing was started. Holds every mistake that was found."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class RunBusyError(JobError):
    """Another process works on the run at this moment."""


class IncompleteError(TilefarmError):
    """The run stopped before its end and can be resumed."""

    exit_code = 3


class TileFailedError(TilefarmError):
    """A tile failed on several workers, so that trying again is pointless."""

    exit_code = 4


class VectorsLostError(IncompleteError):
    """Vectors that lay with a worker are gone with it; those on the driver's disk are older."""


class DeviceError(IncompleteError):
    """A GPU failed in a way after which this process cannot use it any more; another process may."""


class ResourceError(TilefarmError):
    """Not enough disk, memory or GPU."""

    exit_code = 5


class ClusterError(TilefarmError):
    """No usable Ray cluster at the address, or none could be started."""

    exit_code = 6


class StoppedError(TilefarmError):
    """A signal stopped the run; it can be resumed. The exit code is 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
