"""A level painted by the exact method: one optimizer over the whole picture, evaluated in pieces."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tilefarm.events import PiecesProgress, RoundFinished, StepsProgress
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.exact.optimizer import FileLbfgs
from tilefarm.execute.protocol import Keep
from tilefarm.files import checksum, replacing
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.estimate import content_bytes, graph_bytes
from tilefarm.rounds import RunTools
from tilefarm.rundir.journal import RoundDone
from tilefarm.solve.contract import LevelTargets

KEEP_BYTES = 2 * 2**30
"""Of each worker, for graphs between the passes and for content features: a constant, so that memory
does not grow with the picture."""


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def choose_keep(tools: RunTools, level: LevelPlan) -> Keep:
    """Content features first: they save a forward pass of every evaluation. Graphs with what is left."""
    job = tools.prepared.job
    low = tools.settings.precision == "bfloat16"
    content = content_bytes(job, level, low) // len(tools.executor.workers)
    fits = content <= KEEP_BYTES
    left = KEEP_BYTES - (content if fits else 0)
    return Keep(graphs=left // graph_bytes(job, level, low), content=fits)


def paint_exact(tools: RunTools, level: LevelPlan, targets: LevelTargets) -> None:
    """Run the level's optimizer to its end, from its last committed iteration, and put the level on record.

    The canvas holds the starting picture until then, and the result after.
    """
    begin = time.monotonic()
    run, canvas = tools.run, tools.run.canvas(level.index)
    picture = WholePicture(targets.key, level.size, level.pieces, run.content(level.index))

    def on_piece(done: int, total: int) -> None:
        tools.listen(PiecesProgress(level.index, "evaluating", done, total))

    evaluate = WholeEvaluator(
        tools.executor, tools.settings, targets, picture, choose_keep(tools, level), on_piece
    )
    length = level.size.pixels * 3
    history = min(tools.settings.history, level.iterations)
    optimizer = FileLbfgs(run.optimizer(level.index), length, history, evaluate)
    if not optimizer.resume():
        optimizer.start(lambda path: _copy(canvas, path))
    while optimizer.state.iteration + optimizer.state.rollbacks < level.iterations:
        if not optimizer.step():
            break
        state = optimizer.state
        tools.listen(
            StepsProgress(
                level=level.index,
                round=0,
                tile=0,
                iteration=state.iteration + state.rollbacks,
                iterations=level.iterations,
                loss=state.losses[-1],
            )
        )
    with replacing(canvas) as temporary:
        shutil.copyfile(optimizer.point, temporary)
    state = optimizer.state
    line = RoundDone(
        level=level.index,
        round=0,
        canvas_crc=checksum(canvas),
        loss_first=state.losses[0],
        loss_last=state.losses[-1],
        seconds=time.monotonic() - begin,
        rollbacks=state.rollbacks,
    )
    tools.journal.append(line)
    tools.state.apply(line)
    shutil.rmtree(run.optimizer(level.index))
    tools.listen(RoundFinished(level.index, 0, line.loss_first, line.loss_last, line.seconds))
