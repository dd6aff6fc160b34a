"""What a worker writes down while it solves a level as one tile: the losses, and small pictures.

It looks on from outside the optimizer: it sees the losses of every point that is evaluated, and learns after
each step whether that point was taken, by the loss that the optimizer then stands at.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from tilefarm.solve.contract import Losses
from tilefarm.solve.objective import BatchLosses
from tilefarm.solve.tasks import Recording


class Recorder:
    """Of one tile, the only one of its batch."""

    def __init__(self, recording: Recording, iterations: int) -> None:
        self._recording = recording
        self._iterations = iterations
        self._trial: BatchLosses | None = None
        self._taken: Losses | None = None
        self._curve: list[Losses] = []
        self._frames: list[tuple[int, bytes]] = []

    @property
    def curve(self) -> tuple[Losses, ...]:
        """Where the tile stood after every step; steps that were taken back repeat the one before."""
        return tuple(self._curve)

    @property
    def frames(self) -> tuple[tuple[int, bytes], ...]:
        """(step, JPEG file) of every step that was asked for; the last step is left to the solution."""
        return tuple(self._frames)

    def evaluated(self, losses: BatchLosses) -> None:
        """The optimizer looked at a picture whose losses are these."""
        self._trial = losses
        if self._taken is None:
            self._taken = losses.of_tile(0)

    def stepped(self, iteration: int, loss: float, result: Callable[[], Tensor]) -> None:
        """The optimizer ended step `iteration`, counted from 1, at a point of this loss.

        `result` makes what it would give if this were its last step, (1, 3, H, W): with Adam the mean of
        its points, as in the exact method's snapshots.
        """
        if self._trial is None or self._taken is None:
            raise RuntimeError("a step without an evaluation")
        if float(self._trial.total[0]) == loss:
            self._taken = self._trial.of_tile(0)
        self._curve.append(self._taken)
        every = self._recording.every
        if every and iteration % every == 0 and iteration < self._iterations:
            self._frames.append((iteration, self._encode(result())))

    def _encode(self, images: Tensor) -> bytes:
        from tilefarm.image.preview import encode_snapshot  # libvips: not every worker needs it

        box = self._recording.inside
        inside = images[0, :, box.top : box.bottom, box.left : box.right]
        picture = inside.permute(1, 2, 0).detach().float().cpu().numpy()
        return encode_snapshot(np.ascontiguousarray(picture), self._recording.long_side)
