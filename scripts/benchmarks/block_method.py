"""tilefarm's exact evaluation against the published exact block method, in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import psutil
import torch

from scripts.benchmarks.blocks import BlockMethod
from scripts.benchmarks.context import Bench
from scripts.benchmarks.report import Record, Row
from scripts.benchmarks.timing import Spread, alternate, ratios
from scripts.benchmarks.workload import cut, default_job, local_executor, make_workload
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.protocol import Keep
from tilefarm.execute.worker import TileWorker
from tilefarm.geometry import Size
from tilefarm.image.window import open_raw
from tilefarm.plan.estimate import kept_bytes
from tilefarm.plan.halo import Piece
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import Picture, SolverSettings
from tilefarm.solve.memory import MemoryAwareSolver
from tilefarm.solve.network import FeatureNetwork

GRAPH_BYTES = 6 * 2**30
"""The budget for graphs between the passes; half of the free memory where that is less."""
TARGET = 0.45
"""Of tilefarm's time over the block method's."""
_FLOAT32 = 4
_THEIRS = "block method"


@dataclass(frozen=True)
class BlockComparison(Record):
    """tilefarm's evaluation with one setting of what is kept, against the block method."""

    width: int
    height: int
    block: int
    margin: int
    core: int
    pieces: int
    graphs_kept: int
    """Pieces whose graphs tilefarm keeps between the passes."""
    graph_budget_bytes: int
    seconds: Spread
    """Of tilefarm."""
    block_seconds: Spread
    time_ratio: Spread
    """tilefarm's time over the block method's."""
    gradient_difference: float
    """|theirs - ours| / |ours| of the gradients, Euclidean norms."""

    def rows(self) -> list[Row]:
        """tilefarm's time and its ratio; the block method's own figures beside the one without graphs."""
        what = f"{self.graphs_kept} of {self.pieces} graphs kept"
        budget = f"budget {self.graph_budget_bytes / 2**30:.1f} GiB; " if self.graphs_kept else ""
        rows = [
            Row(what, self.seconds, "s", f"{budget}cores {self.core}"),
            Row(what, self.time_ratio, "x block method's time", f"target {TARGET} or less"),
        ]
        if not self.graphs_kept:
            blocks = f"{self.width}x{self.height}, blocks {self.block}, margins {self.margin}"
            rows.append(Row(_THEIRS, self.block_seconds, "s", blocks))
            rows.append(Row(_THEIRS, self.gradient_difference, "relative", "gradient's difference from ours"))
        return rows


class _OnNetwork(TileWorker):
    """A worker for the exact method on a network that is given, not loaded."""

    def __init__(self, bench: Bench, network: FeatureNetwork, settings: SolverSettings) -> None:
        super().__init__(bench.weights, "cpu", bench.machine.threads)
        self._solver = MemoryAwareSolver(network, settings)
        self._settings = settings


def measure_block_method(bench: Bench) -> list[BlockComparison]:
    """With graphs kept as far as the budget allows, and with none; network, threads, objective are shared."""
    scale, size = bench.scale, bench.scale.block_picture
    workload = make_workload(bench.folder, local_executor(bench), "float32", size)
    network = make_network(workload.settings, bench.weights, "cpu")
    torch.set_num_threads(bench.machine.threads)
    point, content = (np.array(open_raw(path, size)) for path in (workload.point, workload.content))
    theirs = BlockMethod(network, workload.settings, workload.targets, content, scale.block, scale.margin)
    pieces = cut(size, scale.block_core)
    budget = min(GRAPH_BYTES, psutil.virtual_memory().available // 2)
    counts = sorted({affordable_graphs(pieces, budget), 0}, reverse=True)
    works: dict[str, Callable[[], object]] = {}
    for graphs in counts:
        keep = Keep(graphs, len(pieces))
        executor = LocalExecutor(_OnNetwork(bench, network, workload.settings))
        evaluate = workload.evaluator(executor, pieces, keep)
        works[str(graphs)] = partial(evaluate, workload.point, workload.gradient)
        evaluate(workload.point, workload.gradient)  # the first time also computes the content's features
    ours = np.array(open_raw(workload.gradient, size))
    found: list[Picture] = []
    works[_THEIRS] = lambda: found.append(theirs.evaluate(point).gradient)
    seconds = alternate(scale.block_rounds, works)
    difference = relative_difference(found[-1], ours)
    return [_record(bench, pieces, graphs, budget, seconds, difference) for graphs in counts]


def affordable_graphs(pieces: Sequence[Piece], budget: int) -> int:
    """How many pieces' graphs `budget` bytes hold in float32."""
    job = default_job(Size(1, 1))
    largest = max(piece.crop.size.pixels for piece in pieces)
    one = largest * kept_bytes(job, _FLOAT32)
    return min(len(pieces), int(budget / one))


def relative_difference(found: Picture, wanted: Picture) -> float:
    """|found - wanted| / |wanted|, Euclidean norms."""
    difference = np.linalg.norm(found.astype(np.float64) - wanted)
    return float(difference / np.linalg.norm(wanted.astype(np.float64)))


def _record(
    bench: Bench,
    pieces: Sequence[Piece],
    graphs: int,
    budget: int,
    seconds: dict[str, list[float]],
    difference: float,
) -> BlockComparison:
    scale = bench.scale
    mine, theirs = seconds[str(graphs)], seconds[_THEIRS]
    return BlockComparison(
        width=scale.block_picture.width,
        height=scale.block_picture.height,
        block=scale.block,
        margin=scale.margin,
        core=scale.block_core,
        pieces=len(pieces),
        graphs_kept=graphs,
        graph_budget_bytes=budget,
        seconds=Spread.of(mine),
        block_seconds=Spread.of(theirs),
        time_ratio=ratios(mine, theirs),
        gradient_difference=difference,
    )
