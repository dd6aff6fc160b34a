"""A GPU whose memory is too small, played on the CPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from tilefarm.solve.network import FeatureNetwork

GPU_FULL = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def alive(references: list[weakref.ref[Tensor]]) -> int:
    return sum(reference() is not None for reference in references)


@dataclass
class Memory:
    """Of a GPU that holds so many tiles in a forward pass, and so many forward passes with gradients."""

    tiles: int = 1000
    graphs: int = 1000
    error: Exception = GPU_FULL
    passes: list[int] = field(default_factory=list)
    """Tiles in each forward pass that was tried."""
    shortages: int = 0
    pictures: list[weakref.ref[Tensor]] = field(default_factory=list)
    """What went into the forward passes with gradients: alive as long as their graphs."""
    on_pass: Callable[[], object] = lambda: None

    def features(
        self, real: Callable[..., dict[str, Tensor]]
    ) -> Callable[[FeatureNetwork, Tensor, Collection[str]], dict[str, Tensor]]:
        def features(network: FeatureNetwork, picture: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
            self.on_pass()
            self.passes.append(picture.shape[0])
            self.check(picture.shape[0] > self.tiles or alive(self.pictures) >= self.graphs)
            if picture.requires_grad:
                self.pictures.append(weakref.ref(picture))
            return real(network, picture, layers)

        return features

    def check(self, short: bool) -> None:
        if short:
            self.shortages += 1
            raise type(self.error)(*self.error.args)  # a new one: an error remembers where it was raised


@contextmanager
def small_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    """All networks' memory, large at first. What holds it must let go of it without the garbage collector."""
    made = Memory()
    monkeypatch.setattr(FeatureNetwork, "features", made.features(FeatureNetwork.features))
    gc.disable()
    yield made
    gc.enable()
