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
    untiled: Size
    """Of the section evaluation's picture that is one piece."""
    exact: Size
    """Of its picture in pieces. All its graphs are kept, which takes about 0.5 GB a megapixel in bfloat16."""
    exact_core: int
    """Of that picture's pieces, in pixels."""
    picture: Size
    """Of the section scaling."""
    core: int
    """Of that section's pieces, in pixels."""
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
    file: Size
    """The picture of the section files."""
    forms: int | None = None
    """Of that section, how many; None for all."""


FULL = Scale(
    name="full",
    rounds=3,
    untiled=Size(768, 576),
    exact=Size(3000, 2250),
    exact_core=1536,
    picture=Size(1536, 1024),
    core=1024,
    block_picture=Size(2048, 1536),
    block_rounds=3,
    block=512,
    margin=256,
    block_core=1024,
    tile=512,
    farm_tiles=200,
    memory=(Size(1024, 768), Size(2048, 1536), Size(4096, 3072), Size(6144, 4608)),
    file=Size(20_000, 20_000),
)
QUICK = Scale(
    name="quick",
    rounds=1,
    untiled=Size(384, 288),
    exact=Size(768, 576),
    exact_core=384,
    picture=Size(512, 384),
    core=384,
    block_picture=Size(768, 576),
    block_rounds=1,
    block=512,
    margin=256,
    block_core=512,
    tile=256,
    farm_tiles=64,
    memory=(Size(1024, 768), Size(2048, 1536)),
    file=Size(6000, 4500),
)


@dataclass(frozen=True)
class Bench:
    """What every section gets."""

    scale: Scale
    machine: Machine
    weights: Weights
    folder: Path
    """Empty, for files; removed at the end."""
