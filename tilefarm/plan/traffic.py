"""What an evaluation of the exact method sends, and from how many GPUs on the network is what it waits for.

Pure arithmetic from pieces and channels; `solve.traffic` counts the same when it happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tilefarm.plan.halo import Piece

_CHANNELS = 3
_FLOAT = 4
PIXEL_BYTES = {"float32": 4.0, "packed": 3.25, "half": 2.0}
"""Bytes of a pixel's value on the way. Packed: measured on a photograph."""
GRADIENT_BYTES = {"float32": 4.0, "packed": 3.48, "half": 2.0}
"""Bytes of a gradient's value on the way. Packed: measured on the same photograph's gradient."""
SUM_BYTES = {"float32": 8, "packed": 8, "half": 4}
"""Bytes of a number of a piece's statistics."""


@dataclass(frozen=True)
class EvaluationTraffic:
    """Bytes of one evaluation, contents and crops of the second pass being where they are needed."""

    crops: float
    """To the workers."""
    slopes: float
    """To the workers, for every machine."""
    sums: float
    """Back to the driver."""
    gradients: float
    """Back to the driver."""
    halos: float
    """What of crops and gradients falls on halos."""

    @property
    def out(self) -> float:
        """From the driver."""
        return self.crops + self.slopes

    @property
    def back(self) -> float:
        """To the driver."""
        return self.sums + self.gradients


def evaluation_traffic(
    pieces: Sequence[Piece],
    style_channels: Sequence[int],
    coding: Literal["float32", "packed", "half"],
    machines: int = 1,
    regions: int = 1,
) -> EvaluationTraffic:
    """Of pieces with style layers of so many channels, on so many machines besides the driver's."""
    crops = _CHANNELS * sum(piece.crop.size.pixels for piece in pieces)
    cores = _CHANNELS * sum(piece.core.size.pixels for piece in pieces)
    matrices = regions * sum(channels**2 + channels for channels in style_channels)
    triangles = regions * sum(1 + channels + channels * (channels + 1) // 2 for channels in style_channels)
    return EvaluationTraffic(
        crops=PIXEL_BYTES[coding] * crops,
        slopes=float(_FLOAT * machines * matrices),
        sums=float(SUM_BYTES[coding] * len(pieces) * triangles),
        gradients=GRADIENT_BYTES[coding] * crops,
        halos=(PIXEL_BYTES[coding] + GRADIENT_BYTES[coding]) * (crops - cores),
    )


def link_seconds(traffic: EvaluationTraffic, bytes_per_second: float) -> float:
    """How long the driver's link takes. Its two directions work at the same time, but not the two passes."""
    first, second = max(traffic.crops, traffic.sums), max(traffic.slopes, traffic.gradients)
    return (first + second) / bytes_per_second


def useful_gpus(traffic: EvaluationTraffic, bytes_per_second: float, gpu_seconds: float) -> float:
    """With more GPUs than this the driver's link takes longer than they do.

    `gpu_seconds`: of one GPU for all pieces. Sending and computing are taken to overlap.
    """
    return gpu_seconds / link_seconds(traffic, bytes_per_second)


def seconds_with_vectors_at_the_tiles(
    traffic: EvaluationTraffic,
    joined: float,
    met: float,
    machines: int,
    bytes_per_second: float,
    gpu_seconds: float,
) -> float:
    """Of an evaluation where points, gradients and history lie with the workers, one GPU to a machine.

    Halos travel between neighbours: points in the first pass, gradients in the second, over the links of
    all machines at once. Of the statistics, which are added up on their way, `met` bytes come one after the
    other to machines where others meet, and `joined` bytes to the driver.
    """
    shared = max(gpu_seconds, traffic.halos / bytes_per_second) / machines
    return shared + (met + joined + traffic.slopes) / bytes_per_second


def overlap(stages: Sequence[float], in_flight: int) -> float:
    """The share of its full pace that one worker reaches, with `in_flight` calls given out at a time.

    `stages` are the seconds of a call for sending, computing and coming back, each of which is done for one
    call at a time. The pace is min(in_flight / sum, 1 / largest), and cannot be above the latter.
    """
    return min(1.0, in_flight * max(stages) / sum(stages))
