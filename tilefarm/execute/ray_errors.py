"""What Ray's errors say of a worker."""

from __future__ import annotations

from ray.exceptions import RayError, RayTaskError

from tilefarm.execute.call import in_a_line

_MEMORY_SIGNS = ("low on memory", "OutOfMemoryError", "memory usage threshold")


def is_loss(error: Exception) -> bool:
    """Whether an answer means that the worker's process is gone, and not that its work raised."""
    return isinstance(error, RayError) and not isinstance(error, RayTaskError)


def is_memory_death(error: Exception) -> bool:
    """Whether Ray's own monitor of memory has ended the worker."""
    return any(sign in str(error) for sign in _MEMORY_SIGNS)


def last_line(error: Exception) -> str:
    """What was raised in the worker, in one line; else the last line of Ray's message: the cause, mostly."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return in_a_line(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
