"""What travels between driver and workers in evaluations of the exact method, in bytes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Traffic:
    """The arrays of tasks and results, each counted once; not their envelopes, nor what was done again after
    a worker was lost."""

    evaluations: int = 0
    sums_out: int = 0
    """Bytes to the workers in first passes: crops, and contents that they do not have."""
    sums_back: int = 0
    """Statistics."""
    gradients_out: int = 0
    """In second passes: crops that they do not have, and the derivatives once for every machine."""
    gradients_back: int = 0
    between: int = 0
    """From worker to worker, where the optimizer's vectors lie with them: parts of points and gradients.
    Those for a worker on the same machine count too, and do not use its link."""
    vectors: int = 0
    """Vectors that were handed out to the workers, or brought back to be kept on the driver's disk."""

    @property
    def out(self) -> int:
        """Bytes from the driver to the workers."""
        return self.sums_out + self.gradients_out

    @property
    def back(self) -> int:
        """Bytes from the workers to the driver."""
        return self.sums_back + self.gradients_back

    def __add__(self, other: Traffic) -> Traffic:
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return Traffic(*(one + two for one, two in zip(mine, theirs, strict=True)))

    def per_pixel(self, pixels: int) -> float:
        """Bytes both ways for every pixel of the picture and evaluation; 0 before the first."""
        return (self.out + self.back) / max(1, self.evaluations * pixels)


def array_bytes(value: Any) -> int:
    """The bytes of all arrays in plain data: dataclasses, dictionaries, tuples."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if dataclasses.is_dataclass(value):
        return sum(array_bytes(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, dict):
        return sum(array_bytes(each) for each in value.values())
    if isinstance(value, tuple):
        return sum(array_bytes(each) for each in value)
    return 0
