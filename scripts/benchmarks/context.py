"""How large the benchmark is, and what all its sections work with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.machine import Machine
from tilefarm.geometry import Size
from tilefarm.solve.contract import Weights


@dataclass(frozen=True)
class Scale:
    """Sizes and counts of a run."""

    name: str
    rounds: int
    """Of every timing but the block method's."""
    picture: Size
    """Of the sections evaluation and scaling."""
    core: int
    """Of that picture's pieces, in pixels."""
    block_picture: Size
    block_rounds: int
    block: int
    """Of the block method, in pixels."""
    margin: int
    """Of the block method, in pixels."""
    block_core: int
    """Of the pieces that the block method is compared with, in pixels."""
    tile: int
    """Side of the feathered tiles, in pixels."""
    farm_tiles: int
    memory: tuple[Size, ...]
    """The pictures of the section memory."""


FULL = Scale(
    name="full",
    rounds=5,
    picture=Size(1024, 768),
    core=512,
    block_picture=Size(2048, 1536),
    block_rounds=3,
    block=512,
    margin=256,
    block_core=1024,
    tile=512,
    farm_tiles=200,
    memory=(Size(1024, 768), Size(2048, 1536), Size(4096, 3072), Size(6144, 4608)),
)
QUICK = Scale(
    name="quick",
    rounds=2,
    picture=Size(512, 384),
    core=384,
    block_picture=Size(1024, 768),
    block_rounds=1,
    block=512,
    margin=256,
    block_core=512,
    tile=256,
    farm_tiles=200,
    memory=(Size(1024, 768), Size(2048, 1536)),
)


@dataclass(frozen=True)
class Bench:
    """What every section gets."""

    scale: Scale
    machine: Machine
    weights: Weights
    folder: Path
    """Empty, for files; removed at the end."""
