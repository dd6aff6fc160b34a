"""How long a worker may be silent in this session; tests of hung workers cannot wait for ten minutes."""

from __future__ import annotations

import os

from tilefarm.errors import JobError
from tilefarm.execute.deadlines import Patience

VARIABLE = "TILEFARM_PATIENCE"
"""Seconds that a worker is given at least, in place of the minute, or ten minutes and more, of `Patience`."""


def patience_here() -> Patience:
    """As usual, or as the environment variable TILEFARM_PATIENCE says.

    Raises JobError where that is no number above 0.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return Patience()
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise JobError(f"{VARIABLE} must be seconds above 0, got {text!r}; correct it or unset it")
    return Patience(least=seconds, unknown=seconds, unknown_per_megapixel=0.0)
