"""What a worker writes down while it solves a level as one tile: the losses, and small pictures.

It looks on from outside the optimizer: it sees every point that is evaluated, and learns after each step
whether that point was taken, by the loss that the optimizer then stands at.
"""

from __future__ import annotations

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
        self._trial: tuple[Tensor, BatchLosses] | None = None
        self._taken: tuple[Tensor, Losses] | None = None
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

    def evaluated(self, images: Tensor, losses: BatchLosses) -> None:
        """The optimizer looked at `images`, (1, 3, H, W), where the losses are these."""
        self._trial = (images, losses)
        if self._taken is None:
            self._taken = (images, losses.of_tile(0))

    def stepped(self, iteration: int, loss: float) -> None:
        """The optimizer ended step `iteration`, counted from 1, at a point of this loss."""
        if self._trial is None or self._taken is None:
            raise RuntimeError("a step without an evaluation")
        images, losses = self._trial
        if float(losses.total[0]) == loss:
            self._taken = (images, losses.of_tile(0))
        self._curve.append(self._taken[1])
        every = self._recording.every
        if every and iteration % every == 0 and iteration < self._iterations:
            self._frames.append((iteration, self._encode(self._taken[0])))

    def _encode(self, images: Tensor) -> bytes:
        from tilefarm.image.preview import encode_snapshot  # libvips: not every worker needs it

        box = self._recording.inside
        inside = images[0, :, box.top : box.bottom, box.left : box.right]
        picture = inside.permute(1, 2, 0).detach().float().cpu().numpy()
        return encode_snapshot(np.ascontiguousarray(picture), self._recording.long_side)
